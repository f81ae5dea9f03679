#include "luce/train/run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/metrics_file.h"
#include "luce/loss/dpo.h"
#include "luce/loss/sft.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

Json pairs_config(const fs::path& out) {
  return {{"task", "preference"},
          {"model", {{"path", test::golden("tiny").string()}}},
          {"data", {{"train", test::golden("pairs_tiny.jsonl").string()}, {"max_length", 64}}},
          {"loss", {{"type", "dpo"}}},
          {"train",
           {{"max_steps", 4}, {"batch_size", 8}, {"learning_rate", 1e-3}, {"logging_steps", 2}}},
          {"output_dir", (out / "out").string()}};
}

TrainResult run(const Json& config, const RunOptions& options = {
                                        .progress = false, .stop_signal = nullptr, .on_step = {}}) {
  const auto document = Document::of(config, "test");
  const auto registry = Registry::with_builtins();
  return train(parse_run_config(document, registry), document, registry, options);
}

TEST(Run, WritesAModelThatGivesTheLogProbsOfTheTrainedOne) {
  const test::TemporaryFolder out;
  Json config = pairs_config(out.path());
  std::vector<double> losses;
  run(config, {.progress = false, .stop_signal = nullptr, .on_step = [&](const StepReport& r) {
                 losses.push_back(r.loss);
               }});
  ASSERT_EQ(losses.size(), 4u);
  EXPECT_NEAR(losses[0], M_LN2, 1e-6);
  EXPECT_LT(losses[3], losses[0]);
  const fs::path folder = out.path() / "out";
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json", "README.md",
        "luce_config.json", "metrics.jsonl", "report.html"})
    EXPECT_TRUE(fs::exists(folder / file)) << file;
  EXPECT_FALSE(fs::exists(folder / "model.new"));
  // The same weights as a task set up anew and run for as many steps.
  const auto again = CausalLM::load(folder);
  const test::TemporaryFolder other;
  config["output_dir"] = (other.path() / "out").string();
  run(config);
  const auto twin = CausalLM::load(other.path() / "out");
  for (size_t i = 0; i < again->parameters().size(); ++i)
    EXPECT_TRUE(at::equal(again->parameters()[i].work, twin->parameters()[i].work));
}

TEST(Run, LogsMeansWithTrlsNamesAndASummary) {
  const test::TemporaryFolder out;
  Json config = pairs_config(out.path());
  config["data"]["eval_fraction"] = 0.2;
  config["train"]["eval_on_start"] = true;
  run(config);
  const auto rows = read_metrics(out.path() / "out" / "metrics.jsonl");
  ASSERT_EQ(rows.size(), 5u);  // at the start, steps 2 and 4, the last evaluation, the summary
  EXPECT_EQ(rows[0].step, 0);
  EXPECT_NEAR(rows[0].values.at("eval_loss"), M_LN2, 1e-6);
  for (const char* name :
       {"loss", "grad_norm", "learning_rate", "num_tokens", "entropy", "mean_token_accuracy",
        "logps/chosen", "logps/rejected", "logits/chosen", "logits/rejected", "rewards/chosen",
        "rewards/rejected", "rewards/margins", "rewards/accuracies", "kl_data",
        "completions/chosen_length", "completions/rejected_length"})
    EXPECT_TRUE(rows[1].values.contains(name)) << name;
  EXPECT_GT(rows[2].values.at("num_tokens"), rows[1].values.at("num_tokens"));
  for (const char* name :
       {"eval_loss", "eval_rewards/margins", "eval_rewards/accuracies", "eval_kl_data"})
    EXPECT_TRUE(rows[3].values.contains(name)) << name;
  EXPECT_TRUE(rows[4].values.contains("train_runtime"));
}

TEST(Run, EndsWithTheBestModelWhereThatIsAsked) {
  const test::TemporaryFolder out;
  Json config = pairs_config(out.path());
  config["data"]["eval"] = test::golden("pairs_tiny.jsonl").string();
  config["train"]["eval_steps"] = 1;
  config["train"]["logging_steps"] = 1;
  config["train"]["load_best_model_at_end"] = true;
  config["train"]["metric_for_best_model"] = "eval_logps/rejected";  // falls from the start on
  run(config);
  const auto best = CausalLM::load(out.path() / "out");
  config["train"]["max_steps"] = 1;
  config["train"]["lr_scheduler_type"] = "linear";
  double highest = -1e300;
  int64_t at = 0;
  for (const auto& row : read_metrics(out.path() / "out" / "metrics.jsonl"))
    if (row.values.contains("eval_logps/rejected") &&
        row.values.at("eval_logps/rejected") > highest) {
      highest = row.values.at("eval_logps/rejected");
      at = row.step;
    }
  const auto saved = CausalLM::load(out.path() / "out" / cat("checkpoint-", at));
  for (size_t i = 0; i < best->parameters().size(); ++i)
    EXPECT_TRUE(at::equal(best->parameters()[i].work, saved->parameters()[i].work));
}

TEST(Run, SaysWhichMetricsAnEvaluationGives) {
  const test::TemporaryFolder out;
  Json config = pairs_config(out.path());
  config["data"]["eval_fraction"] = 0.2;
  config["train"]["load_best_model_at_end"] = true;
  config["train"]["metric_for_best_model"] = "eval_los";
  const auto message = test::message_of<UsageError>([&] { run(config); });
  EXPECT_EQ(
      message.substr(0, message.find("; it gives") + 10),
      "train.metric_for_best_model is \"eval_los\", which the evaluation does not give; it gives");
  EXPECT_NE(message.find("eval_loss"), std::string::npos);
}

TEST(Run, StopsBeforeTheUpdateAtALossThatIsNotFiniteAndNamesTheRows) {
  const auto model = test::small_model(at::kFloat);
  Frozen frozen;
  frozen.model = Reference(model->clone());
  frozen.is_start = false;
  PreferenceTask task(Policy(model), std::move(frozen), std::make_unique<Dpo>(),
                      test::random_pairs(3), {}, {.batch_size = 3, .shuffle = false});
  {
    const at::NoGradGuard no_grad;
    task.policy().parameters()[3].work[0][0] = std::numeric_limits<float>::quiet_NaN();
  }
  const Tensor before = task.policy().parameters()[0].work.detach().clone();
  Trainer trainer(task, {.steps = 1, .schedule = {.learning_rate = 1}});
  EXPECT_EQ(test::message_of<SanityError>([&] { trainer.run(); }),
            "the loss is not finite on rows 1, 2, 3 of the data; the model was not updated. "
            "A lower "
            "learning rate or a look at these rows may help");
  EXPECT_TRUE(at::equal(task.policy().parameters()[0].work.detach(), before));
}

TEST(Run, StopsWhereLogRatiosAreNotZeroAtTheStart) {
  const auto model = test::small_model(at::kFloat);
  Frozen frozen;
  frozen.model = Reference(test::small_model(at::kFloat, true, 9));  // other weights than it claims
  PreferenceTask task(Policy(model), std::move(frozen), std::make_unique<Dpo>(),
                      test::random_pairs(2), {}, {.shuffle = false});
  Trainer trainer(task, {.steps = 1, .schedule = {.learning_rate = 1}});
  const auto message = test::message_of<SanityError>([&] { trainer.run(); });
  EXPECT_EQ(message.substr(0, message.find(" has one of")),
            "before the first update policy and reference are the same weights, so every log-ratio "
            "must be 0; an answer of row 1")
      << message;
}

TEST(Run, ReplacesCachedReferenceLogProbsThatAreDamaged) {
  const test::TemporaryFolder out;
  Json config = pairs_config(out.path());
  config["reference"]["precompute"] = true;
  run(config);
  fs::path cache;
  for (const auto& entry : fs::directory_iterator(out.path() / "out" / "cache"))
    if (entry.path().filename().string().starts_with("reference-")) cache = entry.path();
  ASSERT_FALSE(cache.empty());
  const std::string good = read_file(cache);
  write_file_atomic(cache, good.substr(0, good.size() / 2));
  run(config);
  EXPECT_EQ(read_file(cache).size(), good.size());
}

TEST(Run, RefusesRowsBeyondTheContextOrTheVocabulary) {
  const auto task = [](Example e) {
    SftTask(Policy(test::small_model(at::kFloat)), {}, std::make_unique<Sft>(), {std::move(e)}, {},
            {});
  };
  EXPECT_EQ(
      test::message_of<DataError>([&] {
        task({.prompt = std::vector<int64_t>(60, 1), .completions = {{1, 2, 3, 4, 5}}, .row = 8});
      }),
      "row 8 has 65 tokens; the model's context is 64: lower data.max_length");
  EXPECT_EQ(
      test::message_of<DataError>([&] { task({.prompt = {1}, .completions = {{29}}, .row = 8}); }),
      "row 8 holds the token id 29; the model's vocabulary has 29");
}

TEST(Config, RefusesWhatContradictsItselfByLine) {
  const auto registry = Registry::with_builtins();
  const auto message = [&](const std::string& rest) {
    const Document document(
        "{\"task\": \"preference\", \"model\": {\"path\": \"m\"}, \"data\": {\"train\": \"t\"},\n"
        "\"output_dir\": \"o\"" +
            rest + "}",
        "c.json");
    return test::message_of<UsageError>([&] { parse_run_config(document, registry); });
  };
  EXPECT_EQ(message(""),
            "c.json:1: task \"preference\" needs a \"loss\", for example {\"type\": \"dpo\"}");
  EXPECT_EQ(
      message(",\n\"loss\": {\"type\": \"dpo\"},\n\"train\": {\"load_best_model_at_end\": true}"),
      "c.json:4: load_best_model_at_end needs rows to evaluate on: set data.eval or "
      "data.eval_fraction");
  EXPECT_EQ(message(",\n\"loss\": {\"type\": \"sft\"},\n\"reference\": {\"precompute\": true}"),
            "c.json:4: this loss uses no reference model; leave \"reference\" out");
  EXPECT_EQ(test::message_of<UsageError>([&] {
              parse_run_config(
                  Document(R"({"task": "sft", "model": {"path": "m"}, "data": {"train": "t"},
"output_dir": ""})",
                           "c.json"),
                  registry);
            }),
            "c.json:2: output_dir must name a folder; got \"\"");
  EXPECT_EQ(message(",\n\"loss\": {\"type\": \"dpo\"},\n\"train\": {\"min_lr\": 1}"),
            "c.json:4: min_lr lies above the learning rate, 1e-06");
  EXPECT_EQ(message(",\n\"loss\": {\"type\": \"dpo\"}, \"tain\": {}"),
            "c.json:3: unknown key \"tain\"; did you mean \"train\"?");
}

}  // namespace
}  // namespace luce
