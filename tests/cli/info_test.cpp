// The verbs that only tell, and what holds for the command line as a whole.
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <sstream>

#include "program.h"

namespace luce::cli_test {
namespace {

const std::set<std::string> kVerbs = {"train",    "check",    "check-loss", "experiment", "init",
                                      "generate", "logprobs", "score",      "judge-rows", "eval",
                                      "report",   "list",     "explain",    "schema",     "env"};
const std::string kHelp =
    "\nRun `luce --help` for the verbs, `luce VERB --help` for their options.";

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Cli, HelpListsEveryVerbAndNoOther) {
  const Outcome outcome = luce({"--help"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
  const auto begin = outcome.out.find("Subcommands:\n");
  ASSERT_NE(begin, std::string::npos) << outcome.out;
  std::istringstream lines(outcome.out.substr(begin));
  std::string line;
  std::getline(lines, line);
  std::set<std::string> verbs;
  while (std::getline(lines, line) && line.rfind("  ", 0) == 0)
    if (line.size() > 2 && line[2] != ' ') verbs.insert(line.substr(2, line.find(' ', 2) - 2));
  EXPECT_EQ(verbs, kVerbs);
}

TEST(Cli, EveryVerbHasHelp) {
  for (const auto& verb : kVerbs) {
    const Outcome outcome = luce({verb, "--help"});
    EXPECT_EQ(outcome.code, 0) << verb;
    EXPECT_TRUE(holds(outcome.out, "Usage: luce " + verb)) << outcome.out;
  }
}

TEST(Cli, PrintsItsVersion) {
  const Outcome outcome = luce({"--version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(std::regex_match(outcome.out, std::regex("luce [0-9]+\\.[0-9]+\\.[0-9]+\n")))
      << outcome.out;
  EXPECT_EQ(outcome.err, "");
}

TEST(Cli, AsksForAVerb) {
  const Workspace at;
  const std::string all =
      "train, check, check-loss, experiment, init, generate, logprobs, score, judge-rows, eval, "
      "report, list, explain, schema, env";
  expect_refusal(at, {}, 64, "a verb is needed: " + all + kHelp);
  expect_refusal(at, {"--nope"}, 64, "a verb is needed: " + all + kHelp);
  expect_refusal(at, {"nope"}, 64, "unknown verb \"nope\"; the verbs are " + all + kHelp);
  expect_refusal(at, {"trian", at.dpo}, 64,
                 "unknown verb \"trian\"; did you mean \"train\"?" + kHelp);
}

TEST(Cli, RefusesArgumentsThatAVerbDoesNotHave) {
  const Workspace at;
  expect_refusal(at, {"train"}, 64, "CONFIG is required" + kHelp);
  expect_refusal(at, {"train", at.dpo, "--nope"}, 64,
                 "The following argument was not expected: --nope" + kHelp);
  expect_refusal(at, {"list", "nope"}, 64, "The following argument was not expected: nope" + kHelp);
  expect_refusal(at, {"generate", golden("tiny"), "--prompt", "x", "--n", "x"}, 64,
                 "Could not convert: --n = x" + kHelp);
}

TEST(Cli, SaysWhenItsOutputCannotBeWritten) {
  const Outcome outcome = Program({"list"}, {}, "/dev/full").wait();
  EXPECT_EQ(outcome.code, 73);
  EXPECT_EQ(outcome.sentence(), "cannot write to stdout");
}

TEST(Cli, ListsWhatThereIs) {
  const Outcome outcome = luce({"list"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
  for (const std::string line :
       {"  dpo                Direct Preference Optimization  (also sigmoid)\n", "  sft  ",
        "  preference  ", "  llama\n", "  constant, linear, cosine; each with a warm-up\n"})
    EXPECT_TRUE(holds(outcome.out, line)) << line << outcome.out;
}

TEST(Cli, ExplainsALossByAnyOfItsNames) {
  const Outcome outcome = luce({"explain", "dpo"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
  for (const std::string part :
       {"dpo: Direct Preference Optimization\n",
        "h = beta * [(log pi(y+) - log pi_ref(y+)) - (log pi(y-) - log pi_ref(y-))]\n",
        "Gradient weights: beta [(1-eps)(1-p) - eps p]", "arXiv:2305.18290",
        "Also known as: sigmoid\n", "| `beta` | a number | `0.1` | ",
        "| `label_smoothing` | a number | `0.0` | ",
        "In a config: \"loss\": {\"type\": \"dpo\"}\n"})
    EXPECT_TRUE(holds(outcome.out, part)) << part << outcome.out;
  EXPECT_EQ(luce({"explain", "sigmoid"}).out, outcome.out);
}

TEST(Cli, ChecksAllIdentities) {
  const Outcome outcome = luce({"experiment", "identities"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(holds(outcome.out, "ok      1  ")) << outcome.out;
  EXPECT_TRUE(holds(outcome.out, "\n42 of 42 identities hold\n")) << outcome.out;
}

TEST(Cli, NamesTheNearestLossOrAllOfThem) {
  const Workspace at;
  const std::string slip = luce({"explain", "dop"}).sentence();
  EXPECT_EQ(slip, "luce explain: unknown loss \"dop\"; did you mean \"dpo\"?");
  const Outcome outcome = luce({"explain", "nope"});
  EXPECT_EQ(outcome.code, 64);
  EXPECT_EQ(outcome.sentence().rfind("luce explain: unknown loss \"nope\"; known losses: ", 0), 0U)
      << outcome.sentence();
  EXPECT_TRUE(holds(outcome.sentence(), "dpo"));
}

TEST(Cli, PrintsAJsonSchemaOfAConfig) {
  const Outcome outcome = luce({"schema"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
  const Json schema = parse_json(outcome.out, "schema");
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["required"].dump(), R"(["task","model","data","output_dir"])");
  EXPECT_EQ(schema["properties"]["train"]["properties"]["batch_size"]["minimum"], 1);
  EXPECT_EQ(schema["properties"]["loss"]["anyOf"][0]["$ref"], "#/$defs/loss");
  std::map<std::string, Json> losses;
  for (const auto& loss : schema["$defs"]["loss"]["oneOf"])
    losses[loss["properties"]["type"]["enum"][0]] = loss["properties"];
  ASSERT_TRUE(losses.contains("dpo"));
  EXPECT_EQ(losses["dpo"]["beta"]["default"], 0.1);
  EXPECT_EQ(losses["dpo"]["type"]["enum"].dump(), R"(["dpo","sigmoid"])");
  EXPECT_TRUE(losses.contains("sft"));
  EXPECT_FALSE(losses["sft"].contains("beta"));
}

TEST(Cli, PrintsATableOfAllKeys) {
  const Outcome outcome = luce({"schema", "--table"});
  EXPECT_EQ(outcome.code, 0);
  for (const std::string line :
       {"| key | type | default | meaning |\n", "| `model.path` | a string | required | ",
        "| `train.batch_size` | a whole number | `8` | "})
    EXPECT_TRUE(holds(outcome.out, line)) << line;
}

TEST(Cli, DescribesTheMachine) {
  const Outcome outcome = luce({"env"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
  for (const std::string name :
       {"luce", "compiler", "LibTorch", "libc", "processor", "threads", "memory", "device"})
    EXPECT_TRUE(std::regex_search(outcome.out, std::regex("(^|\n)" + name + ": +[^ \n]")))
        << name << "\n"
        << outcome.out;
}

}  // namespace
}  // namespace luce::cli_test
