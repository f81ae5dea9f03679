// Online runs from configs: what they leave, what they refuse, and on real prompts.
#include <cmath>
#include <sstream>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/metrics_file.h"
#include "luce/train/run.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

Json tiny_config(const fs::path& out) {
  return {
      {"task", "rl"},
      {"model", {{"path", test::golden("tiny").string()}}},
      {"data", {{"train", test::golden("pairs_tiny.jsonl").string()}}},
      {"algorithm", {{"type", "rloo"}, {"beta", 0.05}}},
      {"reward", {{"type", "repetition"}, {"n", 1}}},
      {"rollout", {{"num_generations", 4}, {"max_completion_length", 12}, {"log_completions", 0}}},
      {"train",
       {{"max_steps", 3}, {"batch_size", 4}, {"learning_rate", 1e-3}, {"logging_steps", 1}}},
      {"output_dir", out.string()}};
}

std::vector<MetricsRow> run(const Json& config) {
  const Registry registry = Registry::with_builtins();
  const Document document = Document::of(config, "online.json");
  train(parse_run_config(document, registry), document, registry, {.progress = false});
  return read_metrics(fs::path(config.at("output_dir").get<std::string>()) / "metrics.jsonl");
}

TEST(OnlineRun, LeavesCompletionsAndAReport) {
  test::TemporaryFolder folder;
  const fs::path out = folder.path() / "out";
  const auto rows = run(tiny_config(out));
  for (const char* name : {"reward", "reward_std", "rewards/repetition/mean", "kl", "objective/kl",
                           "completions/mean_length", "frac_reward_zero_std", "entropy"})
    EXPECT_TRUE(rows.front().values.contains(name)) << name;
  EXPECT_LE(rows.front().values.at("ratio/first_step_max_abs_dev"), 1e-4);
  std::istringstream lines(read_file(out / "completions/step-2.jsonl"));
  double count = 0, sum = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json json = parse_json(line, "line");
    EXPECT_EQ(json["reward"], json["rewards/repetition"]);
    EXPECT_FALSE(json["prompt"].get<std::string>().empty());
    sum += json["reward"].get<double>();
  }
  EXPECT_EQ(count, 16);
  EXPECT_NEAR(sum / count, rows[1].values.at("reward"), 1e-8);
  EXPECT_NE(read_file(out / "report.html").find("Completions of the last rollout"),
            std::string::npos);
}

TEST(OnlineRun, EvaluatesOnPromptsThatAreHeldOut) {
  test::TemporaryFolder folder;
  Json config = tiny_config(folder.path() / "out");
  config["data"]["eval_fraction"] = 0.25;
  config["train"]["eval_on_start"] = true;
  const auto rows = run(config);
  EXPECT_TRUE(rows.front().values.contains("eval_reward"));
  EXPECT_TRUE(rows.front().values.contains("eval_completions/mean_length"));
}

TEST(OnlineRun, MovesTheReferenceWhereItIsAskedTo) {
  test::TemporaryFolder folder;
  Json config = tiny_config(folder.path() / "out");
  config["reference"] = {{"sync_steps", 1}, {"mixup_alpha", 1.0}};
  const auto rows = run(config);  // the reference is the policy again after every update
  EXPECT_NEAR(rows[1].values.at("objective/kl"), 0, 1e-6);
  config = tiny_config(folder.path() / "other");
  EXPECT_GT(std::abs(run(config)[1].values.at("objective/kl")), 1e-6);
}

/// The refusal of a config that is the tiny one with something else at a pointer.
std::string refusal(const std::vector<std::pair<std::string, Json>>& changes) {
  Json config = tiny_config("out");
  for (const auto& [pointer, value] : changes) config[Json::json_pointer(pointer)] = value;
  const Registry registry = Registry::with_builtins();
  return test::message_of<UsageError>(
      [&] { parse_run_config(Document::of(config, "online.json"), registry); });
}

TEST(OnlineConfig, SaysWhatIsMissingOrContradictory) {
  EXPECT_EQ(refusal({{"/algorithm", nullptr}}),
            "online.json: task \"rl\" needs an \"algorithm\", for example {\"type\": \"rloo\"}");
  EXPECT_EQ(refusal({{"/reward", nullptr}}),
            "online.json: task \"rl\" needs a \"reward\", for example {\"type\": \"model\", "
            "\"path\": …}");
  EXPECT_EQ(refusal({{"/loss", {{"type", "dpo"}}}}),
            "online.json: task \"rl\" has an \"algorithm\" in place of a \"loss\"");
  EXPECT_EQ(refusal({{"/algorithm/beta", 0}, {"/reference", {{"sync_steps", 4}}}}),
            "online.json: this algorithm uses no reference model; leave \"reference\" out");
  EXPECT_EQ(refusal({{"/reference", {{"precompute", true}}}}),
            "online.json: samples are not known before they are drawn; leave reference.precompute "
            "out");
  EXPECT_EQ(refusal({{"/value", {{"share_trunk", true}}}}),
            "online.json: this algorithm has no value model; leave \"value\" out");
  EXPECT_EQ(refusal({{"/algorithm", {{"type", "ppo"}}},
                     {"/value", {{"share_trunk", true}, {"path", "x"}}}}),
            "online.json: a value head on the policy's trunk has no folder of its own: give "
            "value.path or value.share_trunk, not both");
  EXPECT_EQ(refusal({{"/rollout/num_generations", 1}}),
            "online.json: this algorithm compares at least 2 completions of a prompt; got 1");
  EXPECT_EQ(refusal({{"/rollout/importance_sampling_min", 4}}),
            "online.json: importance_sampling_min lies above importance_sampling_max, 3");
  EXPECT_EQ(refusal({{"/rollout/server", {{"url", "http://localhost:1"}}},
                     {"/rollout/mixture_path", "x"}}),
            "online.json: a server samples from its own model alone; leave rollout.mixture_path "
            "out");
  EXPECT_EQ(refusal({{"/algorithm", {{"type", "reinforce"}}},
                     {"/rollout/num_generations", 1},
                     {"/rollout/dynamic_sampling", 2}}),
            "online.json: dynamic_sampling compares completions of a prompt; it needs "
            "num_generations of 2 or more");
  EXPECT_EQ(refusal({{"/algorithm", {{"type", "online_dpo"}, {"loss", {{"type", "kto"}}}}}}),
            "online.json: online_dpo makes pairs of samples; it needs a loss of pairs");
  EXPECT_EQ(refusal({{"/task", "sft"}, {"/algorithm", {{"type", "rloo"}}}}),
            "online.json: \"algorithm\" belongs to task \"rl\"; this task is \"sft\"");
}

TEST(OnlineConfig, NamesAContextThatLeavesNoRoomForAPrompt) {
  Json config = tiny_config("out");
  config["rollout"]["max_completion_length"] = 100000;
  const Registry registry = Registry::with_builtins();
  const Document document = Document::of(config, "online.json");
  const auto context = CausalLM::load(test::golden("tiny"))->config().max_position_embeddings;
  EXPECT_EQ(test::message_of<UsageError>(
                [&] { set_up(parse_run_config(document, registry), document, registry); }),
            cat("rollout.max_completion_length is 100000; the model's context is ", context,
                ", which leaves no room for a prompt"));
}

TEST(OnlineRun, RewardsStoriesOfARealModel) {
  LUCE_NEEDS_TEST_DATA(data);
  test::TemporaryFolder folder;
  Json config = tiny_config(folder.path() / "out");
  config["model"]["path"] = (*data / "models/stories260k").string();
  config["data"]["train"] =
      folder.file("prompts.jsonl",
                  "{\"prompt\": \"Once upon a time\"}\n{\"prompt\": \"One day, a girl named\"}\n");
  config["algorithm"] = {{"type", "grpo"}};
  config["reward"] = {{{"type", "repetition"}, {"n", 2}, {"unit", "words"}},
                      {{"type", "length"}, {"target", 40}, {"slope", 0.01}}};
  config["rollout"]["max_completion_length"] = 48;
  config["train"]["batch_size"] = 2;
  const auto rows = run(config);
  EXPECT_LE(rows.front().values.at("ratio/first_step_max_abs_dev"), 1e-4);
  EXPECT_GT(rows.front().values.at("reward_std"), 0);
  EXPECT_EQ(rows.front().values.at("reward/failed"), 0);
}

TEST(OnlineRun, ChecksAnswersToRealProblems) {
  LUCE_NEEDS_TEST_DATA(data);
  test::TemporaryFolder folder;
  Json config = tiny_config(folder.path() / "out");
  config["model"]["path"] = (*data / "models/stories260k").string();
  config["data"] = {{"train", (*data / "data/gsm8k-test.jsonl").string()},
                    {"column_map", {{"prompt", "question"}}}};
  config["reward"] = {{"type", "answer"}};
  config["algorithm"] = {{"type", "grpo"}};
  config["train"]["max_steps"] = 1;
  const auto rows = run(config);
  const double reward = rows.front().values.at("reward");
  EXPECT_GE(reward, 0);
  EXPECT_LE(reward, 1);
  EXPECT_EQ(rows.front().values.at("reward/failed"), 0);
}

}  // namespace
}  // namespace luce
