// `luce train` from end to end: files, signals, resuming.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <regex>
#include <set>
#include <thread>

#include "program.h"

namespace luce::cli_test {
namespace {

namespace fs = std::filesystem;

std::set<std::string> names(const fs::path& folder) {
  std::set<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.insert(entry.path().filename());
  return out;
}

std::set<std::string> keys(const Json& object) {
  std::set<std::string> out;
  for (const auto& [key, value] : object.items()) out.insert(key);
  return out;
}

/// The lines of a run's metrics that hold a loss.
std::vector<Json> steps(const fs::path& out) {
  std::vector<Json> lines = json_lines(read_file(out / "metrics.jsonl"));
  std::erase_if(lines, [](const Json& line) { return !line.contains("loss"); });
  return lines;
}

/// What a line says about the training, without times and memory.
std::string result_of(Json line) {
  line.erase("tokens_per_second");
  line.erase("memory_mib");
  return line.dump();
}

const std::set<std::string> kOutput = {"README.md",
                                       "cache",
                                       "config.json",
                                       "luce_config.json",
                                       "metrics.jsonl",
                                       "model.safetensors",
                                       "report.html",
                                       "runs",
                                       "tokenizer.model",
                                       "tokenizer_config.json",
                                       "generation_config.json"};

/// What a line of every run holds.
std::set<std::string> with_common(std::set<std::string> more) {
  more.merge(std::set<std::string>{"step", "epoch", "entropy", "grad_norm", "learning_rate", "loss",
                                   "mean_token_accuracy", "memory_mib", "num_tokens",
                                   "tokens_per_second"});
  return more;
}

TEST(CliTrain, AnSftRunLeavesAModelItsMetricsAndAReport) {
  const Workspace at;
  const Outcome outcome = luce({"train", at.sft});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(names(at.out()), kOutput);
  const auto lines = steps(at.out());
  ASSERT_EQ(lines.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(lines[i]["step"], i + 1);
    EXPECT_EQ(keys(lines[i]), with_common({}));
  }
  EXPECT_EQ(keys(json_lines(read_file(at.out() / "metrics.jsonl")).back()),
            (std::set<std::string>{"step", "epoch", "train_runtime", "train_samples_per_second",
                                   "train_steps_per_second"}));

  EXPECT_EQ(outcome.out, "") << "progress goes to stderr";
  EXPECT_NE(outcome.err.find("3/3"), std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find('\x1b'), std::string::npos) << "no escape codes outside a terminal";
}

TEST(CliTrain, ADpoRunLeavesAModelThatTheOtherVerbsTake) {
  const Workspace at;
  const Outcome outcome = luce({"train", at.dpo, "--no-progress"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err.find("3/3"), std::string::npos) << outcome.err;
  EXPECT_EQ(names(at.out()), kOutput);
  const auto lines = steps(at.out());
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(keys(lines[0]), with_common({"completions/chosen_length",
                                         "completions/rejected_length",
                                         "displacement/both_fell",
                                         "displacement/chosen",
                                         "displacement/rejected",
                                         "kl_data",
                                         "kl_data_k1",
                                         "kl_data_k2",
                                         "kl_data_k3",
                                         "logits/chosen",
                                         "logits/rejected",
                                         "logps/chosen",
                                         "logps/rejected",
                                         "rewards/accuracies",
                                         "rewards/chosen",
                                         "rewards/margins",
                                         "rewards/rejected",
                                         "weights/chosen_mean",
                                         "weights/chosen_p95",
                                         "weights/rejected_mean",
                                         "weights/rejected_p95"}));
  EXPECT_NEAR(lines[0]["weights/chosen_mean"], 0.05, 1e-7) << "β/2 where the loss begins";
  EXPECT_NEAR(lines[0]["loss"], std::log(2), 1e-6) << "policy and reference begin as one";
  EXPECT_EQ(lines[0]["rewards/accuracies"], 0);
  EXPECT_NE(lines[1]["rewards/margins"], 0) << "and then part";

  EXPECT_NE(read_file(at.out() / "model.safetensors"), read_file(golden("tiny/model.safetensors")));
  EXPECT_EQ(parse_json(read_file(at.out() / "luce_config.json"), "")["loss"]["beta"], 0.1)
      << "defaults are written out";
  for (const auto& entry : fs::directory_iterator(at.out() / "runs"))
    EXPECT_TRUE(entry.is_directory() || entry.file_size() > 0);
  EXPECT_NE(read_file(at.out() / "report.html").find("Reward margin"), std::string::npos);
  EXPECT_NE(read_file(at.out() / "README.md").find("library_name: transformers"),
            std::string::npos);

  const std::string trained = at.out();
  const std::string rows = at.file("r.jsonl", "{\"input_ids\": [1, 5, 6]}\n");
  const Outcome before = luce({"logprobs", golden("tiny"), rows}),
                after = luce({"logprobs", trained, rows});
  EXPECT_EQ(after.code, 0) << after.err;
  EXPECT_NE(after.out, before.out);
  EXPECT_EQ(luce({"generate", trained, "--prompt", "x", "--max-new-tokens", "2"}).code, 0);

  fs::remove(at.out() / "report.html");
  const Outcome report = luce({"report", trained});
  EXPECT_EQ(report.code, 0) << report.err;
  EXPECT_EQ(report.out, trained + "/report.html\n");
  EXPECT_TRUE(fs::exists(at.out() / "report.html"));
}

TEST(CliTrain, TheSameRunGivesTheSameBytes) {
  const Workspace at;
  ASSERT_EQ(luce({"train", at.dpo, "output_dir=" + (at / "a").string()}).code, 0);
  ASSERT_EQ(luce({"train", at.dpo, "output_dir=" + (at / "b").string()}).code, 0);
  ASSERT_EQ(luce({"train", at.dpo, "output_dir=" + (at / "c").string(), "train.seed=1"}).code, 0);
  const std::string a = read_file(at / "a" / "model.safetensors");
  EXPECT_EQ(read_file(at / "b" / "model.safetensors"), a);
  EXPECT_NE(read_file(at / "c" / "model.safetensors"), a);
}

TEST(CliTrain, QuietPrintsNothing) {
  const Workspace at;
  const Outcome outcome = luce({"-q", "train", at.sft});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "");
  EXPECT_TRUE(fs::exists(at.out() / "model.safetensors"));
}

TEST(CliTrain, NoColorLeavesTheTerminalPlain) {
  const Workspace at;
  const std::regex color("\x1b\\[[0-9;]*m");
  EXPECT_TRUE(std::regex_search(luce_on_terminal({"train", at.sft}, {{"NO_COLOR", ""}}), color));
  const std::string plain = luce_on_terminal({"train", at.sft}, {{"NO_COLOR", "1"}});
  EXPECT_FALSE(std::regex_search(plain, color)) << plain;
  EXPECT_NE(plain.find("3/3"), std::string::npos) << plain;
}

class CliResume : public testing::TestWithParam<std::string> {};

TEST_P(CliResume, AResumedRunEndsAsAnUnbrokenOne) {
  const Workspace at;
  const std::string config = GetParam() == "sft" ? at.sft : at.dpo;
  const auto train = [&](const std::string& out, const Strings& more) {
    Strings arguments = {"train",
                         config,
                         "output_dir=" + (at / out).string(),
                         "train.max_steps=6",
                         "train.lr_scheduler_type=cosine",
                         "train.weight_decay=0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = luce(arguments);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  };
  train("whole", {"train.save_steps=3"});
  EXPECT_TRUE(names(at / "whole").contains("checkpoint-3"));
  train("rest", {"train.resume=" + (at / "whole" / "checkpoint-3").string()});
  EXPECT_EQ(read_file(at / "rest" / "model.safetensors"),
            read_file(at / "whole" / "model.safetensors"));

  // As after a crash behind step 5: in the same folder, whose metrics ran ahead of the checkpoint.
  fs::create_directory(at / "broken");
  fs::copy(at / "whole" / "checkpoint-3", at / "broken" / "checkpoint-3");
  const auto whole = json_lines(read_file(at / "whole" / "metrics.jsonl"));
  std::string metrics;
  for (size_t i = 0; i < 5; ++i) metrics += whole[i].dump() + "\n";
  at.file("broken/metrics.jsonl", metrics);
  train("broken", {"train.resume=auto"});
  EXPECT_EQ(read_file(at / "broken" / "model.safetensors"),
            read_file(at / "whole" / "model.safetensors"));
  const auto lines = steps(at / "broken"), wanted = steps(at / "whole");
  ASSERT_EQ(lines.size(), 6U) << "each step once";
  ASSERT_EQ(wanted.size(), 6U);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(result_of(lines[i]), result_of(wanted[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(Tasks, CliResume, testing::Values("sft", "dpo"),
                         [](const auto& task) { return task.param; });

TEST(CliTrain, ResumingWithoutACheckpointBeginsAtTheStart) {
  const Workspace at;
  const Outcome outcome = luce({"train", at.sft, "train.resume=auto"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(steps(at.out()).size(), 3U);
}

TEST(CliTrain, RefusesACheckpointThatIsBroken) {
  const Workspace at;
  ASSERT_EQ(luce({"train", at.sft, "train.save_steps=3"}).code, 0);
  const fs::path checkpoint = at.out() / "checkpoint-3";
  const std::string resume = "train.resume=" + checkpoint.string();
  const std::string optimizer = read_file(checkpoint / "optimizer.safetensors");
  write_file_atomic(checkpoint / "optimizer.safetensors",
                    optimizer.substr(0, optimizer.size() / 2));
  const Outcome cut = luce({"train", at.sft, resume});
  EXPECT_EQ(cut.code, 65);
  EXPECT_NE(cut.sentence().find("it is cut short"), std::string::npos) << cut.sentence();

  write_file_atomic(checkpoint / "optimizer.safetensors", optimizer);
  write_file_atomic(checkpoint / "trainer_state.json", "{}");
  expect_refusal(at, {"train", at.sft, resume}, 65,
                 "out/checkpoint-3/trainer_state.json: not the state of a training run");
  expect_refusal(at, {"train", at.sft, "train.resume=" + (at / "none").string()}, 66,
                 "no model folder none: it does not exist");
}

/// Whether `true` came within two minutes.
bool soon(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

class CliSignal : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(CliSignal, SavesACheckpointFromWhichTheRunGoesOn) {
  const auto [signal, code] = GetParam();
  const Workspace at;
  const fs::path metrics = at.out() / "metrics.jsonl";
  Program program({"train", at.sft, "train.max_steps=1000000000", "--no-progress"});
  ASSERT_TRUE(soon(
      [&] { return !program.running() || (fs::exists(metrics) && fs::file_size(metrics) > 0); }));
  program.signal(signal);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, code) << outcome.err;
  const int64_t step = steps(at.out()).back()["step"];
  const std::string checkpoint = cat("checkpoint-", step);
  ASSERT_TRUE(names(at.out()).contains(checkpoint)) << outcome.err;
  EXPECT_FALSE(names(at.out()).contains("model.safetensors")) << "the run is not at its end";
  const std::string advice = cat("stopped after step ", step, ", saved in out/", checkpoint,
                                 ". Go on with: luce train sft.json train.max_steps=1000000000");
  EXPECT_NE(at.strip(outcome.err).find(advice), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find(" train.resume=auto\n"), std::string::npos) << outcome.err;

  const Outcome rest =
      luce({"train", at.sft, cat("train.max_steps=", step + 2), "train.resume=auto"});
  ASSERT_EQ(rest.code, 0) << rest.err;
  EXPECT_NE(at.strip(rest.err).find(cat("resuming at step ", step, " from out/", checkpoint)),
            std::string::npos)
      << rest.err;
  EXPECT_TRUE(names(at.out()).contains("model.safetensors"));
  const auto lines = steps(at.out());
  ASSERT_EQ(static_cast<int64_t>(lines.size()), step + 2);
  for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i]["step"], i + 1);
}

INSTANTIATE_TEST_SUITE_P(Signals, CliSignal,
                         testing::Values(std::pair(SIGINT, 130), std::pair(SIGTERM, 75)),
                         [](const auto& signal) {
                           return std::string(signal.param.first == SIGINT ? "SIGINT" : "SIGTERM");
                         });

}  // namespace
}  // namespace luce::cli_test
