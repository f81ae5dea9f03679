// From files of judged answers to training: which rows serve which loss, and what is made of them.
#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/metrics_file.h"
#include "luce/train/run.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

/// Runs of a few steps on rows that are given as text.
class JudgedRows : public ::testing::Test {
 protected:
  test::TemporaryFolder folder_;

  Json config(const Json& loss, const std::string& rows, const std::string& out = "out") const {
    return {{"task", "preference"},
            {"model", {{"path", test::golden("tiny").string()}}},
            {"data", {{"train", folder_.file("rows.jsonl", rows)}, {"max_length", 64}}},
            {"loss", loss},
            {"train", {{"max_steps", 4}, {"batch_size", 2}, {"learning_rate", 1e-3}}},
            {"output_dir", (folder_.path() / out).string()}};
  }
  static RunSetup prepared(const Json& config) {
    const auto document = Document::of(config, "c.json");
    const auto registry = Registry::with_builtins();
    return set_up(parse_run_config(document, registry), document, registry);
  }
  static void run(const Json& config) {
    const auto document = Document::of(config, "c.json");
    const auto registry = Registry::with_builtins();
    train(parse_run_config(document, registry), document, registry, {.progress = false});
  }
  std::string refusal(const Json& config) const {
    std::string message = test::message_of<Error>([&] { prepared(config); });
    const auto at = message.find(folder_.path().string());
    return at == std::string::npos ? message
                                   : message.replace(at, folder_.path().string().size() + 1, "");
  }
};

const std::string kPairs =
    R"({"prompt": "a", "chosen": " b", "rejected": " c", "reference": " d e", "rater": "x"})"
    "\n"
    R"({"prompt": "f", "chosen": " g", "rejected": " h", "reference": " i", "rater": "y"})"
    "\n";
const std::string kScored = R"({"prompt": "a", "completion": " b", "score": 1})"
                            "\n"
                            R"({"prompt": "f", "completion": " g", "score": 4})"
                            "\n"
                            R"({"prompt": "a", "completion": " c", "score": 3})"
                            "\n"
                            R"({"prompt": "f", "completion": " h", "score": 4})"
                            "\n";

TEST_F(JudgedRows, KeepGoldAnswersForALossThatReadsThemAlone) {
  EXPECT_EQ(prepared(config({{"type", "dpo"}}, kPairs)).train.examples[0].completions.size(), 2u);
  const auto tpo = prepared(config({{"type", "tpo"}}, kPairs)).train.examples[0];
  EXPECT_EQ(tpo.completions.size(), 3u);
  EXPECT_EQ(tpo.role(2), Role::gold);
}

TEST_F(JudgedRows, AreRefusedWhereTheLossCannotLearnFromThem) {
  EXPECT_EQ(refusal(config({{"type", "dpo"}}, kScored)),
            "rows.jsonl: task \"preference\" with this loss needs preference rows, and these are "
            "scored rows (data.type says how rows are read)");
  EXPECT_EQ(refusal(config({{"type", "regression"}}, kPairs)),
            "rows.jsonl: task \"preference\" with this loss needs scored or ranked rows, and these "
            "are preference rows (data.type says how rows are read)");
  EXPECT_EQ(refusal(config({{"type", "kto"}}, kScored)),
            "rows.jsonl: task \"preference\" with this loss needs unpaired or preference rows, and "
            "these are scored rows (data.type says how rows are read)");
}

TEST_F(JudgedRows, WithScoresStandByPromptAndAreStandardised) {
  const RunSetup setup = prepared(config({{"type", "regression"}}, kScored));
  ASSERT_EQ(setup.train.examples.size(), 2u);
  EXPECT_EQ(setup.train.examples[0].scores, (std::vector<double>{1, 3}));
  EXPECT_DOUBLE_EQ(*setup.config.data.score_mean, 3);
  EXPECT_DOUBLE_EQ(*setup.config.data.score_std, std::sqrt(2));  // of 1, 3, 4, 4
  const Step step = setup.task->next(0);
  double sum = 0;
  for (const auto& rows : step.micro_batches)
    for (const Example* row : rows)
      for (const double score : row->scores) sum += score;
  EXPECT_NEAR(sum, 0, 1e-12);
}

TEST_F(JudgedRows, WithScoresNeedTwoAnswersAPromptAndSomeDifference) {
  EXPECT_EQ(refusal(config(
                {{"type", "regression"}},
                kScored.substr(0, kScored.find("{\"prompt\": \"a\", \"completion\": \" c\"")))),
            "rows.jsonl: no prompt has two scored answers to compare");
  std::string equal = kScored;
  for (const char* score : {"1}", "3}"}) equal.replace(equal.find(score), 1, "4");
  EXPECT_EQ(refusal(config({{"type", "regression"}}, equal)),
            "rows.jsonl: all scores are equal; there is nothing to learn from them");
}

TEST_F(JudgedRows, OfTwoFilesShareTheirRaters) {
  Json both = config({{"type", "mixture"}}, kPairs);
  both["data"]["eval"] = folder_.file(
      "eval.jsonl", R"({"prompt": "a", "chosen": " b", "rejected": " c", "rater": "z"})"
                    "\n"
                    R"({"prompt": "a", "chosen": " b", "rejected": " c", "rater": "y"})"
                    "\n");
  const RunSetup setup = prepared(both);
  EXPECT_EQ(setup.train.examples[1].rater, 1);
  EXPECT_EQ(setup.eval->examples[0].rater, 2);
  EXPECT_EQ(setup.eval->examples[1].rater, 1);
}

TEST_F(JudgedRows, ReferencesThatCannotServeAreRefusedByLine) {
  const auto message = [&](const Json& loss, const Json& reference) {
    Json one = config(loss, kPairs);
    one["reference"] = reference;
    const auto document = Document::of(one, "c.json");
    return test::message_of<UsageError>(
        [&] { parse_run_config(document, Registry::with_builtins()); });
  };
  EXPECT_EQ(message({{"type", "distillation"}}, Json::object()),
            "c.json: this loss learns from a teacher: name its folder in reference.path");
  EXPECT_EQ(message({{"type", "generative"}}, {{"precompute", true}}),
            "c.json: this loss needs the reference's whole distribution, which log-probs do not "
            "hold; leave reference.precompute out");
  EXPECT_EQ(message({{"type", "kto"}}, {{"precompute", true}}),
            "c.json: this loss scores answers under other rows' prompts, which are not known "
            "before; leave reference.precompute out");
  EXPECT_EQ(message({{"type", "dpo"}}, {{"precompute", true}, {"sync_steps", 2}}),
            "c.json: a reference that moves cannot be computed before; leave reference.precompute "
            "out");
  EXPECT_EQ(message({{"type", "simpo"}}, {{"sync_steps", 2}}),
            "c.json: this loss uses no reference model; leave \"reference\" out");
}

/// A run that was stopped in the middle ends with the same bits, whatever the task keeps.
TEST_F(JudgedRows, AreResumedWithTheStateOfTheLossAndAReferenceThatMoves) {
  for (const char* name : {"bco", "dpo"}) {
    Json whole = config({{"type", name}}, kPairs, std::string("whole_") + name);
    whole["train"]["save_steps"] = 2;
    whole["train"]["lr_scheduler_type"] = "constant";
    if (std::string(name) == "dpo") whole["reference"] = {{"sync_steps", 1}, {"mixup_alpha", 0.3}};
    run(whole);
    Json rest = whole;
    const fs::path first = whole["output_dir"].get<std::string>(),
                   second = folder_.path() / (std::string("rest_") + name);
    rest["output_dir"] = second.string();
    rest["train"]["resume"] = (first / "checkpoint-2").string();
    run(rest);
    EXPECT_EQ(read_file(first / "model.safetensors"), read_file(second / "model.safetensors"))
        << name;
    // What the resumed run needed was there, and not trivial.
    const Json state =
        parse_json(read_file(first / "checkpoint-2" / "trainer_state.json"), "trainer_state.json");
    if (std::string(name) == "bco") {
      EXPECT_NE(state["task"]["loss"]["delta"], 0.0);
    } else {
      EXPECT_TRUE(fs::exists(first / "checkpoint-2" / "task.safetensors"));
    }
  }
}

}  // namespace
}  // namespace luce
