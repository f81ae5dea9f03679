// Whole runs of every loss that TRL has, against TRL's: same model, rows, order and settings.
#include <ATen/ATen.h>

#include <cmath>
#include <fstream>

#include "luce/base/file.h"
#include "luce/data/examples.h"
#include "luce/data/jsonl.h"
#include "luce/train/run.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

/// The published rows of a golden file, with the prompt apart, in the kinds that its runs need.
class PeerRows {
 public:
  PeerRows(const Json& golden, const fs::path& file) {
    JsonlReader reader(file);
    for (JsonRow row; reader.next(row);) {
      Json one = row.value;
      if (!one.contains("prompt")) {
        const std::string chosen = one["chosen"], rejected = one["rejected"];
        const size_t shared = shared_prompt(chosen, rejected);
        one = {{"prompt", chosen.substr(0, shared)},
               {"chosen", chosen.substr(shared)},
               {"rejected", rejected.substr(shared)}};
      }
      all_.push_back(std::move(one));
    }
    const auto& pairs = golden["rows"]["pairs"];
    for (int64_t i = 0; i < pairs["count"]; ++i)
      pairs_.push_back(all_[pairs["first"].get<size_t>() + static_cast<size_t>(i)]);
    for (const auto& line : golden["rows"]["free"]["lines"])
      free_.push_back(all_[line.get<size_t>()]);
    for (const auto& line : golden["rows"]["unpaired"]["lines"])
      whole_.push_back(all_[line.get<size_t>()]);
  }

  std::vector<Json> of(const std::string& kind) const {
    if (kind == "pairs") return pairs_;
    std::vector<Json> out = kind == "unpaired" ? whole_ : free_;
    for (size_t i = 0; i < out.size(); ++i) {
      Json& row = out[i];
      if (kind == "triples") row["reference"] = free_[(i + 1) % free_.size()]["chosen"];
      if (kind == "promptless")
        row = {{"prompt", ""},
               {"chosen", row["prompt"].get<std::string>() + row["chosen"].get<std::string>()},
               {"rejected", row["prompt"].get<std::string>() + row["rejected"].get<std::string>()}};
      if (kind == "unpaired")
        row = {{"prompt", row["prompt"]},
               {"completion", i % 3 == 1 ? row["rejected"] : row["chosen"]},
               {"label", i % 3 != 1}};
    }
    return out;
  }

 private:
  std::vector<Json> all_, pairs_, free_, whole_;
};

/// Our loss for a peer's settings.
Json loss_of(const std::string& name, const Json& changes) {
  const Json type = changes.value("loss_type", Json(""));
  const std::string peer = type.is_array() ? type[0] : type;
  Json loss = {{"beta", changes.value("beta", 0.1)}};
  for (const char* key : {"label_smoothing", "ld_alpha", "use_weighting", "f_divergence_type",
                          "cpo_alpha", "tpo_alpha", "desirable_weight", "undesirable_weight"})
    if (changes.contains(key)) loss[key] = changes[key];
  if (name.starts_with("cpo_") || name.starts_with("tpo_")) {
    loss["type"] = name.substr(0, 3);
    loss["form"] = peer;
  } else if (name.starts_with("simpo") || name == "alphapo") {
    loss["type"] = name == "alphapo" ? "alphapo" : "simpo";
    loss["gamma"] = changes["simpo_gamma"];
    loss["rpo_alpha"] = loss["cpo_alpha"];
    loss.erase("cpo_alpha");
    if (changes.contains("alpha")) loss["alpha"] = changes["alpha"];
  } else if (name.starts_with("orpo")) {
    loss["type"] = "orpo";
  } else {
    loss["type"] = peer;
    if (peer == "sft") loss.erase("beta");
  }
  return loss;
}

using Curve = std::vector<double>;

std::map<std::string, Curve> train_like(const Json& golden, const std::string& name,
                                        const Json& run, const fs::path& model,
                                        const fs::path& rows, const fs::path& out) {
  Json config = golden["config"];
  const Json& changes = run["changes"];
  Json ours = {
      {"task", "preference"},
      {"model", {{"path", model.string()}}},
      {"data",
       {{"train", rows.string()}, {"max_length", config["max_length"]}, {"shuffle", false}}},
      {"loss", loss_of(name, changes)},
      {"train",
       {{"max_steps", config["max_steps"]},
        {"batch_size", config["per_device_train_batch_size"]},
        {"learning_rate", changes.value("learning_rate", config["learning_rate"])},
        {"lr_scheduler_type", config["lr_scheduler_type"]},
        {"max_grad_norm", config["max_grad_norm"]},
        {"logging_steps", 1}}},
      {"output_dir", out.string()}};
  if (changes.contains("sync_ref_model"))
    ours["reference"] = {{"sync_steps", changes["ref_model_sync_steps"]},
                         {"mixup_alpha", changes["ref_model_mixup_alpha"]}};
  const auto document = Document::of(ours, "test");
  const auto registry = Registry::with_builtins();
  RunSetup setup = set_up(parse_run_config(document, registry), document, registry);
  Trainer trainer(*setup.task, setup.trainer);
  std::map<std::string, Curve> curves;
  trainer.on_log = [&](int64_t, double, const std::map<std::string, double>& means) {
    for (const auto& [key, value] : means) curves[key].push_back(value);
  };
  trainer.run();
  return curves;
}

/// |Δ(x_k − x_0)| ≤ 1e-3 max |x_k − x_0| + 1e-6 |x_0|, and x_0 itself.
void expect_curve(const Curve& got, const Curve& want, double start, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double span = 0;
  for (const double x : want) span = std::max(span, std::abs(x - want[0]));
  EXPECT_NEAR(got[0], want[0], start * std::max(1.0, std::abs(want[0]))) << what;
  for (size_t k = 1; k < want.size(); ++k)
    EXPECT_NEAR(got[k] - got[0], want[k] - want[0], 1e-3 * span + 1e-6 * std::abs(want[0]))
        << what << " at step " << k + 1 << ", span " << span;
}

bool compares_no_sums(const std::string& name) {
  return name == "ld_alpha" || name == "cpo_ipo" || name == "tpo_ipo" || name == "tpo_l" ||
         name == "alphapo" || name.starts_with("simpo") || name.starts_with("orpo");
}

void expect_runs(const Json& golden, const fs::path& model, const fs::path& file) {
  const PeerRows peer(golden, file);
  size_t compared = 0;
  for (const auto& [name, run] : golden["runs"].items()) {
    if (name == "orpo") continue;  // scores the prompt too: orpo_promptless is the same without one
    SCOPED_TRACE(name);
    const test::TemporaryFolder out;
    std::string rows;
    for (const Json& row : peer.of(run["rows"])) rows += row.dump() + "\n";
    const auto got =
        train_like(golden, name, run, model, out.file("rows.jsonl", rows), out.path() / "out");
    for (const auto& [key, want] : run.items()) {
      if (!want.is_array() || !got.contains(key)) continue;
      if (key != "loss" && key != "rewards/margins" && key != "rewards/chosen" &&
          key != "logps/chosen" && key != "kl")
        continue;
      // What these runs log there is what they compare: means per token, discounted sums.
      if (key == "logps/chosen" && compares_no_sums(name)) continue;
      expect_curve(got.at(key), want.get<Curve>(), key == "loss" ? 1e-6 : 1e-5, key);
    }
    EXPECT_TRUE(got.contains("loss") && run.contains("loss"));
    ++compared;
  }
  EXPECT_EQ(compared + 1, golden["runs"].size());
  EXPECT_GE(compared, 34U);
}

TEST(FamilyTrajectory, OfATinyModelEqualsTrls) {
  expect_runs(test::golden_json("losses_tiny.json"), test::golden("tiny"),
              test::golden("pairs_tiny.jsonl"));
}

TEST(FamilyTrajectory, OfStories260kOnRealPairsEqualsTrls) {
  LUCE_NEEDS_TEST_DATA(data);
  const Json golden = test::golden_json("losses_stories260k.json");
  expect_runs(golden, *data / "models/stories260k",
              *data / golden["rows"]["file"].get<std::string>());
}

}  // namespace
}  // namespace luce
