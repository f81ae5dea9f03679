// Losses in shared objects: one that works, and one for each way to be refused.
#include "luce/loss/plugin.h"

#include <ATen/ATen.h>

#include "cli/program.h"
#include "luce/base/error.h"
#include "luce/loss/registry.h"
#include "support/support.h"

namespace luce {
namespace {

const std::string kFolder = LUCE_TEST_PLUGINS;

std::string plugin(const std::string& name) { return kFolder + "/lib" + name + ".so"; }

/// `text` with the folder of the plug-ins as DIR.
std::string short_form(std::string text) {
  for (size_t at; (at = text.find(kFolder)) != std::string::npos;)
    text.replace(at, kFolder.size(), "DIR");
  return text;
}

/// The sentence by which a plug-in is refused, which must leave the registry as it was.
template <class E = UsageError>
std::string refusal(const std::string& path) {
  Registry registry = Registry::with_builtins();
  const size_t before = registry.losses().size();
  const std::string sentence =
      test::message_of<E>([&] { load_plugin(registry, path, "dpo.json:3"); });
  EXPECT_EQ(registry.losses().size(), before);
  return short_form(sentence);
}

/// The value of a loss for one pair with these log-ratios.
double value_of(const Registry& registry, const Json& section, double chosen, double rejected) {
  const auto loss = registry.make_loss(Document::of({{"loss", section}}, "test"));
  const GroupInputs inputs{.logps = {at::tensor({chosen, rejected}, at::kDouble), {0, 1, 2}},
                           .ref_logps = {{at::zeros({2}, at::kDouble), {0, 1, 2}}},
                           .role = {Role::chosen, Role::rejected},
                           .group = {0, 2}};
  Metrics metrics;
  return reduce((*loss)(inputs, metrics), {.items = 1}).item<double>();
}

TEST(Plugin, AddsALossThatComputesItsFormula) {
  Registry registry = Registry::with_builtins();
  load_plugin(registry, plugin("my_loss"), "test");
  const double p = 1 / (1 + std::exp(-0.5 * 1.5));
  EXPECT_NEAR(value_of(registry, {{"type", "my_focal"}, {"beta", 0.5}, {"gamma", 2}}, -1, -2.5),
              -p * p * std::log(p), 1e-12);
  EXPECT_NEAR(value_of(registry, {{"type", "my_focal"}, {"gamma", 0}}, -3, -1),
              value_of(registry, {{"type", "dpo"}}, -3, -1), 1e-12);
}

TEST(Plugin, SharesTypesAndErrorsWithTheProgram) {
  Registry registry;
  load_plugin(registry, plugin("my_loss"), "test");
  const auto loss = registry.make_loss(Document::of({{"loss", {{"type", "my_focal"}}}}, "test"));
  EXPECT_NE(dynamic_cast<const PairLoss*>(loss.get()), nullptr);
  EXPECT_EQ(loss->reward_scale(), 0.1);
  EXPECT_EQ(test::message_of<UsageError>([&] {
              value_of(registry, {{"type", "my_focal"}, {"gama", 1}}, -1, -2);
            }),
            "test: unknown key \"gama\" in loss \"my_focal\"; did you mean \"gamma\"?");
}

TEST(Plugin, RefusesAFileThatIsNotThere) {
  EXPECT_EQ(refusal<MissingFileError>(plugin("none")),
            "dpo.json:3: there is no plug-in DIR/libnone.so");
}

TEST(Plugin, RefusesWhatCannotBeLoaded) {
  const std::string advice = cat("\nA plug-in is built by luce_add_plugin against Luce ", kVersion,
                                 "; the program that loads it is `luce`, or one made ready by "
                                 "luce_allow_plugins");
  const test::TemporaryFolder folder;
  const std::string text = folder.file("text.so", "a text");
  EXPECT_EQ(refusal(text), "dpo.json:3: the plug-in " + text + " cannot be loaded: " + text +
                               ": file too short" + advice);
  EXPECT_EQ(refusal(plugin("undefined")),
            "dpo.json:3: the plug-in DIR/libundefined.so cannot be loaded: DIR/libundefined.so: "
            "undefined symbol: _ZN4luce7nowhereERNS_8RegistryE" +
                advice);
}

TEST(Plugin, RefusesASharedObjectThatIsNone) {
  EXPECT_EQ(refusal(plugin("no_plugin")),
            "dpo.json:3: DIR/libno_plugin.so is a shared object but no plug-in of Luce: it has no "
            "LUCE_PLUGIN(…)");
}

TEST(Plugin, RefusesOneThatWasBuiltForSomethingElse) {
  const std::string version = cat(LUCE_VERSION_MAJOR, ".", LUCE_VERSION_MINOR);
  EXPECT_EQ(refusal(plugin("other_form")),
            cat("dpo.json:3: the plug-in DIR/libother_form.so describes itself in another form: "
                "build it again against Luce ",
                kVersion));
  EXPECT_EQ(refusal(plugin("other_luce")),
            "dpo.json:3: the plug-in DIR/libother_luce.so was built for Luce 7.3; this is Luce " +
                version + ": build it again against this version");
  EXPECT_EQ(refusal(plugin("other_torch")),
            "dpo.json:3: the plug-in DIR/libother_torch.so was built for LibTorch 1.0.0; this Luce "
            "has LibTorch " TORCH_VERSION ": build it again against this version");
  EXPECT_EQ(refusal(plugin("other_abi")),
            cat("dpo.json:3: the plug-in DIR/libother_abi.so was built by a compiler with another "
                "ABI (__GXX_ABI_VERSION 1, _GLIBCXX_USE_CXX11_ABI 0); this Luce has "
                "__GXX_ABI_VERSION ",
                __GXX_ABI_VERSION, ", _GLIBCXX_USE_CXX11_ABI ", _GLIBCXX_USE_CXX11_ABI,
                ": build it again with the compiler that built this Luce"));
}

TEST(Plugin, RefusesOneThatFails) {
  EXPECT_EQ(refusal(plugin("fails")),
            "dpo.json:3: the plug-in DIR/libfails.so cannot add its losses: a table is missing");
}

TEST(Plugin, RefusesANameThatIsTaken) {
  Registry registry;
  load_plugin(registry, plugin("my_loss"), "test");
  EXPECT_EQ(short_form(test::message_of<UsageError>(
                [&] { load_plugin(registry, plugin("my_loss"), "dpo.json:3"); })),
            "dpo.json:3: the plug-in DIR/libmy_loss.so cannot add its losses: [Registry] the name "
            "of the loss \"my_focal\" is taken by \"my_focal\"");
  EXPECT_EQ(registry.losses().size(), 1U);
}

#ifdef LUCE_CLI
using cli_test::luce;

TEST(CliPlugin, IsKnownToTheVerbsThatReadNoConfig) {
  const std::string path = plugin("my_loss");
  EXPECT_NE(luce({"list", "--plugin", path}).out.find("\n  my_focal "), std::string::npos);
  EXPECT_EQ(luce({"explain", "my_focal", "--plugin", path})
                .out.substr(0, std::string("my_focal: FocalPO\n").size()),
            "my_focal: FocalPO\n");
  EXPECT_NE(luce({"schema", "--plugin", path}).out.find("\"my_focal\""), std::string::npos);
  const auto none = luce({"explain", "my_focal", "--plugin", plugin("none")});
  EXPECT_EQ(none.code, 66);
  EXPECT_EQ(short_form(none.sentence()), "--plugin: there is no plug-in DIR/libnone.so");
}

TEST(CliPlugin, TrainsAsTheConfigSays) {
  const cli_test::Workspace at;
  const std::string plugins = "plugins=[\"" + plugin("my_loss") + "\"]";
  const auto trained = luce({"train", at.dpo, plugins, "loss={\"type\": \"my_focal\"}"});
  EXPECT_EQ(trained.code, 0) << trained.err;
  const Json config = parse_json(read_file(at.out() / "luce_config.json"), "luce_config.json");
  EXPECT_EQ(config.at("plugins"), Json::array({plugin("my_loss")}));
  EXPECT_EQ(config.at("loss").at("gamma"), 0.05);
}

TEST(CliPlugin, IsRefusedAtItsPlaceInTheConfig) {
  const cli_test::Workspace at;
  const std::string config = at.file("c.json",
                                     "{\n\"task\": \"sft\", \"output_dir\": \"out\",\n"
                                     "\"model\": {\"path\": \"m\"}, \"data\": {\"train\": \"t\"},\n"
                                     "\"plugins\": [\n\"./none.so\"]}");
  cli_test::expect_refusal(at, {"train", config}, 66, "c.json:5: there is no plug-in ./none.so");
  cli_test::expect_refusal(at, {"check", config}, 66, "c.json:5: there is no plug-in ./none.so");
  cli_test::expect_refusal(at, {"train", config, "plugins=\"./none.so\""}, 64,
                           "command line (plugins=\"./none.so\"): plugins must be a list, each "
                           "entry a string; got \"./none.so\"");
}
#endif

}  // namespace
}  // namespace luce
