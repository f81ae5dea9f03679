// Training steps against TRL's trainers: same model, rows, order and settings.
#include <ATen/ATen.h>

#include <cmath>
#include <fstream>

#include "luce/data/jsonl.h"
#include "luce/loss/sft.h"
#include "luce/train/run.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

/// |got − want| ≤ bound·max(1, |want|).
void expect_near(double got, double want, double bound, const std::string& what) {
  EXPECT_LE(std::abs(got - want), bound * std::max(1.0, std::abs(want)))
      << what << ": got " << got << ", want " << want;
}

struct Trajectory {
  std::vector<std::map<std::string, double>> steps;
  std::map<std::string, double> eval;
  std::map<std::string, Tensor> parameters;
};

Trajectory train_with(Json config, const fs::path& out) {
  config["output_dir"] = out.string();
  config["data"]["shuffle"] = false;
  config["train"]["logging_steps"] = 1;
  const auto document = Document::of(config, "test");
  const auto registry = Registry::with_builtins();
  const RunConfig parsed = parse_run_config(document, registry);
  RunSetup run = set_up(parsed, document, registry);
  Trajectory trajectory;
  Trainer trainer(*run.task, run.trainer);
  trainer.on_log = [&](int64_t, double, const std::map<std::string, double>& means) {
    if (means.contains("loss"))
      trajectory.steps.push_back(means);
    else
      trajectory.eval = means;
  };
  trainer.run();
  for (const auto& p : run.task->trained().parameters())
    trajectory.parameters[p.name] = p.work.detach();
  return trajectory;
}

void expect_steps(const Trajectory& got, const Json& run) {
  const Json& steps = run["steps"];
  ASSERT_EQ(got.steps.size(), steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto at = [&](const std::string& name) {
      return name + " at step " + std::to_string(i + 1);
    };
    for (const auto& [name, value] : steps[i].items()) {
      if (!got.steps[i].contains(name) || !value.is_number()) continue;
      if (name == "rewards/accuracies" && i == 0)
        continue;  // rounding breaks the ties of the start
      const double bound = name == "grad_norm" ? 1e-3 * std::abs(value.get<double>()) /
                                                     std::max(1.0, std::abs(value.get<double>()))
                                               : 1e-4;
      expect_near(got.steps[i].at(name), value.get<double>(), bound, at(name));
    }
    for (const char* name :
         {"loss", "grad_norm", "num_tokens", "mean_token_accuracy", "entropy", "learning_rate"})
      EXPECT_TRUE(got.steps[i].contains(name) && steps[i].contains(name)) << at(name);
  }
  for (const auto& [name, sums] : run["parameters"].items()) {
    ASSERT_TRUE(got.parameters.contains(name)) << name;
    const Tensor p = got.parameters.at(name).to(at::kDouble);
    expect_near(p.norm().item<double>(), sums["norm"].get<double>(), 1e-4, name);
    expect_near(p.sum().item<double>(), sums["sum"].get<double>(), 1e-3, name);
  }
}

Json dpo_config(const Json& golden, const fs::path& model, const fs::path& rows) {
  const Json& c = golden["config"];
  return {{"task", "preference"},
          {"model", {{"path", model.string()}}},
          {"data", {{"train", rows.string()}, {"max_length", c["max_length"]}}},
          {"loss", {{"type", "dpo"}, {"beta", c["beta"]}}},
          {"train",
           {{"max_steps", c["max_steps"]},
            {"batch_size", c["per_device_train_batch_size"]},
            {"learning_rate", c["learning_rate"]},
            {"lr_scheduler_type", c["lr_scheduler_type"]},
            {"max_grad_norm", c["max_grad_norm"]}}}};
}

/// Lines [first, first + count) of a file of rows.
std::string lines(const fs::path& path, int64_t first, int64_t count) {
  std::ifstream in(path);
  std::string out, line;
  for (int64_t i = 0; i < first + count && std::getline(in, line); ++i)
    if (i >= first) out += line + "\n";
  return out;
}

TEST(DpoTrajectory, OfATinyModelEqualsTrls) {
  for (const std::string model : {"tiny", "tiny-untied"}) {
    const Json golden =
        test::golden_json(model == "tiny" ? "dpo_tiny.json" : "dpo_tiny_untied.json");
    const test::TemporaryFolder out;
    const auto count = golden["rows"]["count"].get<int64_t>();
    const auto rows = out.file("train.jsonl", lines(test::golden("pairs_tiny.jsonl"), 0, count));
    Json config = dpo_config(golden, test::golden(model), rows);
    config["data"]["eval"] =
        out.file("eval.jsonl", lines(test::golden("pairs_tiny.jsonl"), count,
                                     golden["rows"]["eval_count"].get<int64_t>()));
    const auto got = train_with(config, out.path() / "out");
    expect_steps(got, golden["base"]);
    for (const auto& [name, value] : golden["base"]["eval"].items())
      if (got.eval.contains(name)) expect_near(got.eval.at(name), value.get<double>(), 1e-4, name);
    EXPECT_TRUE(got.eval.contains("eval_loss") && got.eval.contains("eval_rewards/margins"));
  }
}

TEST(DpoTrajectory, WithAnSftTermEqualsTrls) {
  const Json golden = test::golden_json("dpo_tiny.json");
  const test::TemporaryFolder out;
  const auto rows = out.file("train.jsonl", lines(test::golden("pairs_tiny.jsonl"), 0, 33));
  Json config = dpo_config(golden, test::golden("tiny"), rows);
  config["loss"] = {
      {"type", {"sigmoid", "sft"}}, {"weights", {1, 0.2}}, {"beta", golden["config"]["beta"]}};
  expect_steps(train_with(config, out.path() / "out"), golden["sft_mixture"]);
}

TEST(DpoTrajectory, WithACosineAndAWarmUpEqualsTrls) {
  const Json golden = test::golden_json("dpo_tiny.json");
  const test::TemporaryFolder out;
  const auto rows = out.file("train.jsonl", lines(test::golden("pairs_tiny.jsonl"), 0, 33));
  Json config = dpo_config(golden, test::golden("tiny"), rows);
  for (const auto& [key, value] : golden["cosine"]["changes"].items()) config["train"][key] = value;
  expect_steps(train_with(config, out.path() / "out"), golden["cosine"]);
}

TEST(DpoTrajectory, WithWeightDecayEqualsTrlsAndSparesNormsAndBiases) {
  for (const std::string model : {"tiny", "tiny-untied"}) {
    const Json golden =
        test::golden_json(model == "tiny" ? "dpo_tiny.json" : "dpo_tiny_untied.json");
    const test::TemporaryFolder out;
    const auto rows = out.file("train.jsonl", lines(test::golden("pairs_tiny.jsonl"), 0, 33));
    Json config = dpo_config(golden, test::golden(model), rows);
    for (const auto& [key, value] : golden["weight_decay"]["changes"].items())
      config["train"][key] = value;
    expect_steps(train_with(config, out.path() / "out"), golden["weight_decay"]);
    std::vector<std::string> spared;
    const auto loaded = CausalLM::load(test::golden(model));
    for (const auto& p : loaded->parameters())
      if (!p.decay) spared.push_back(p.name);
    auto want = golden["weight_decay"]["not_decayed"].get<std::vector<std::string>>();
    std::sort(spared.begin(), spared.end());
    std::sort(want.begin(), want.end());
    EXPECT_EQ(spared, want);
  }
}

TEST(DpoTrajectory, WithPrecomputedReferenceLogPropsIsTheSame) {
  const Json golden = test::golden_json("dpo_tiny.json");
  const test::TemporaryFolder out;
  const auto rows = out.file("train.jsonl", lines(test::golden("pairs_tiny.jsonl"), 0, 33));
  Json config = dpo_config(golden, test::golden("tiny"), rows);
  config["reference"]["precompute"] = true;
  const auto fresh = train_with(config, out.path() / "out");
  expect_steps(fresh, golden["base"]);
  const auto cached = train_with(config, out.path() / "out");  // reads what the first run kept
  for (size_t i = 0; i < fresh.steps.size(); ++i)
    EXPECT_EQ(fresh.steps[i].at("loss"), cached.steps[i].at("loss"));
}

TEST(DpoTrajectory, OfStories260kOnRealPairsEqualsTrls) {
  LUCE_NEEDS_TEST_DATA(data);
  const Json golden = test::golden_json("dpo_stories260k.json");
  const test::TemporaryFolder out;
  const fs::path source = *data / golden["rows"]["file"].get<std::string>();
  JsonlReader reader(source);
  std::string rows;
  const auto first = golden["rows"]["first"].get<int64_t>(),
             count = golden["rows"]["count"].get<int64_t>();
  JsonRow row;
  for (int64_t i = 0; i < first + count && reader.next(row); ++i)
    if (i >= first) rows += row.value.dump() + "\n";
  const auto config =
      dpo_config(golden, *data / "models/stories260k", out.file("rows.jsonl", rows));
  expect_steps(train_with(config, out.path() / "out"), golden["base"]);
}

TEST(SftTrajectory, EqualsTrls) {
  for (const std::string model : {"tiny", "tiny-untied"}) {
    const Json golden =
        test::golden_json(model == "tiny" ? "sft_tiny.json" : "sft_tiny_untied.json");
    for (const std::string run : {"base", "accumulation", "prompt_scored", "text"}) {
      if (!golden.contains(run)) continue;
      const test::TemporaryFolder out;
      const Json& c = golden["config"];
      Json config = {
          {"task", "sft"},
          {"model", {{"path", test::golden(model).string()}}},
          {"data",
           {{"train",
             test::golden(run == "text" ? "sft_text_tiny.jsonl" : "sft_tiny.jsonl").string()},
            {"max_length", c["max_length"]},
            {"completion_only_loss", run != "prompt_scored"}}},
          {"train",
           {{"max_steps", c["max_steps"]},
            {"batch_size", 4},
            {"learning_rate", c["learning_rate"]},
            {"lr_scheduler_type", c["lr_scheduler_type"]},
            {"max_grad_norm", c["max_grad_norm"]}}}};
      SCOPED_TRACE(model + " " + run);
      if (run == "accumulation") config["train"]["micro_batch_tokens"] = 60;
      const auto got = train_with(config, out.path() / "out");
      Json want = golden[run];
      if (run == "accumulation")  // the peer averages these over micro-batches, which we do not
        for (auto& step : want["steps"]) step["entropy"] = step["mean_token_accuracy"] = nullptr;
      expect_steps(got, want);
    }
  }
}

TEST(Schedule, EqualsTransformers) {
  for (const auto& c : test::golden_json("lr_schedules.json")["cases"]) {
    const Schedule schedule{.type = c["schedule"].get<std::string>(),
                            .learning_rate = 1,
                            .min_lr = 0,
                            .warmup = c["warmup"].get<double>(),
                            .total = 20};
    if (schedule.type == "constant" && schedule.warmup > 0) continue;  // ignored there, obeyed here
    for (size_t i = 0; i < 20; ++i)
      EXPECT_NEAR(schedule.at(static_cast<int64_t>(i)), c["rates"][i].get<double>(), 1e-8)
          << schedule.type << " warm-up " << schedule.warmup << " step " << i;
  }
}

}  // namespace
}  // namespace luce
