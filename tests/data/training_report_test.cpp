#include "luce/data/training_report.h"

#include <gtest/gtest.h>

#include <fstream>

#include "luce/base/error.h"
#include "luce/data/metrics_file.h"

namespace luce {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class TrainingReportTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              cat("report_", testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void put(const char* name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  std::string html() const { return training_report(folder_).html(); }
  /// The sentence that report.json is refused with, behind its path.
  std::string complaint(const std::string& report_json) {
    put("metrics.jsonl", "{\"step\": 1, \"loss\": 1}\n");
    put("report.json", report_json);
    try {
      html();
    } catch (const DataError& error) {
      const std::string path = (folder_ / "report.json").string() + ": ";
      EXPECT_EQ(std::string(error.what()).rfind(path, 0), 0u) << error.what();
      return std::string(error.what()).substr(path.size());
    }
    return "";
  }

  std::filesystem::path folder_;
};

TEST_F(TrainingReportTest, DrawsWhatWasLoggedAndNothingElse) {
  put("metrics.jsonl",
      "{\"step\": 10, \"epoch\": 0.5, \"loss\": 0.7, \"learning_rate\": 1e-4, \"num_tokens\": "
      "5000}\n"
      "{\"step\": 20, \"epoch\": 1, \"loss\": 0.5, \"learning_rate\": 5e-5, \"num_tokens\": "
      "10000}\n"
      "{\"step\": 20, \"epoch\": 1, \"eval_loss\": 0.6}\n"
      "{\"step\": 20, \"epoch\": 1, \"train_runtime\": 125}\n");
  put("luce_config.json", "{\"task\": \"sft\", \"train\": {\"seed\": 42, \"betas\": [0.9, 0.99]}}");
  const std::string page = html();
  EXPECT_TRUE(has(page, "<h3>Loss</h3>"));
  EXPECT_TRUE(has(page, "train <b>0.5</b>"));
  EXPECT_TRUE(has(page, "eval <b>0.6</b>"));
  EXPECT_TRUE(has(page, "<h3>Learning rate</h3>"));
  EXPECT_FALSE(has(page, "<h3>Rewards</h3>"));
  EXPECT_FALSE(has(page, "<h3>num_tokens</h3>"));
  EXPECT_FALSE(has(page, "<h3>train_runtime</h3>"));
  EXPECT_TRUE(has(page, "<dt>Steps</dt><dd>20<p>1 epoch, 10k tokens</p>")) << page;
  EXPECT_TRUE(has(page, "<dt>Loss</dt><dd>0.6<p>held-out</p>"));
  EXPECT_TRUE(has(page, "<dt>Run time</dt><dd>2:05"));
  EXPECT_TRUE(has(page, "<dt>Task</dt><dd>sft</dd>"));
  EXPECT_TRUE(has(page, "train.seed</th><td>42</td>"));
  EXPECT_TRUE(has(page, "train.betas</th><td>[0.9,0.99]</td>"));
}

TEST_F(TrainingReportTest, FallingLikelihoodOfChosenAnswersIsSaid) {
  put("metrics.jsonl",
      "{\"step\": 1, \"logps/chosen\": -90, \"logps/rejected\": -95}\n"
      "{\"step\": 2, \"logps/chosen\": -93.1, \"logps/rejected\": -104.8}\n");
  EXPECT_TRUE(has(
      html(),
      "<p class=\"body callout warning\">The log-probability of chosen answers fell by 3.1 nats "
      "(rejected: 9.8): the margin grew because rejected answers fell further, not "
      "because chosen ones became likelier. Training batches, the first logged step "
      "against the last tenth of the run.</p>"))
      << html();
}

TEST_F(TrainingReportTest, ATinyFallIsNoWarning) {
  put("metrics.jsonl",
      "{\"step\": 1, \"logps/chosen\": -90, \"logps/rejected\": -95}\n"
      "{\"step\": 2, \"logps/chosen\": -90.05, \"logps/rejected\": -96}\n");
  EXPECT_TRUE(has(html(),
                  "<p class=\"body callout\">The log-probability of chosen answers fell by 0.05 "
                  "nats (rejected: 1). "));
}

TEST_F(TrainingReportTest, HeldOutPairsDecideWhereThereAreSome) {
  put("metrics.jsonl",
      "{\"step\": 1, \"logps/chosen\": -90, \"logps/rejected\": -95}\n"
      "{\"step\": 5, \"eval_logps/chosen\": -80, \"eval_logps/rejected\": -80}\n"
      "{\"step\": 9, \"logps/chosen\": -99, \"logps/rejected\": -99}\n"
      "{\"step\": 9, \"eval_logps/chosen\": -78, \"eval_logps/rejected\": -81.5}\n");
  EXPECT_TRUE(has(html(),
                  "<p class=\"body callout\">The log-probability of chosen answers rose by 2 nats "
                  "(rejected: fell by 1.5 nats). Held-out pairs, step 5 against step 9.</p>"))
      << html();
}

TEST_F(TrainingReportTest, HeldOutPairsAreComparedFirstToLastHoweverManyThereAre) {
  std::string rows;
  for (int i = 0; i <= 40; ++i)
    rows += cat("{\"step\": ", i, ", \"eval_logps/chosen\": ", -80 - i,
                ", \"eval_logps/rejected\": -80}\n");
  put("metrics.jsonl", rows);
  EXPECT_TRUE(
      has(html(),
          "fell by 40 nats (rejected: rose by 0 nats). Held-out pairs, step 0 against step 40."));
}

TEST_F(TrainingReportTest, AResumedRunShowsTheLaterRows) {
  put("metrics.jsonl",
      "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"loss\": 7}\n{\"step\": 3, \"loss\": 8}\n"
      "{\"step\": 2, \"loss\": 2}\n");
  const std::string page = html();
  EXPECT_TRUE(has(page, "train <b>2</b>"));
  EXPECT_FALSE(has(page, "train 7"));
  EXPECT_FALSE(has(page, "train 8"));
}

TEST_F(TrainingReportTest, MetricsOfACustomLossAreDrawn) {
  put("metrics.jsonl",
      "{\"step\": 1, \"my/score\": 1}\n{\"step\": 2, \"my/score\": 2, \"eval_my/score\": 3}\n");
  const std::string page = html();
  EXPECT_TRUE(has(page, "<h2>Other metrics</h2>"));
  EXPECT_TRUE(has(page, "<h3>my/score</h3>"));
  EXPECT_TRUE(has(page, "eval <b>3</b>"));
  EXPECT_FALSE(has(page, "<h3>eval_my/score</h3>"));
}

TEST_F(TrainingReportTest, ProgramsAddTheirOwnSections) {
  put("metrics.jsonl", "{\"step\": 1, \"loss\": 1}\n");
  put("report.json", R"({"title": "Demo", "lead": "Did it work?",
    "tiles": [{"label": "Score", "value": 1.05, "note": "up"}],
    "sections": [
      {"type": "heading", "text": "Results"}, {"type": "text", "text": "Words."},
      {"type": "callout", "text": "Look.", "warning": true},
      {"type": "table", "title": "T", "columns": ["a", "b"], "rows": [["x", 2]]},
      {"type": "histogram", "title": "H", "x_label": "score", "samples": [{"name": "before", "values": [1, 2, null]}]},
      {"type": "lines", "title": "L", "log_y": true, "series": [{"name": "s", "x": [1, 2], "y": [3, 4], "sparse": true}]},
      {"type": "samples", "title": "S", "columns": ["before", "after"],
       "rows": [{"prompt": "Once", "cells": [{"text": "sad", "note": "-1"}, "happy"]}]}]})");
  const std::string page = html();
  for (const char* part :
       {"<h1>Demo</h1>", "Did it work?", "<dt>Score</dt><dd>1.05<p>up</p>", "<h2>Results</h2>",
        ">Words.</p>", "callout warning\">Look.", "<td>x</td><td class=\"n\">2</td>", "<h3>H</h3>",
        "<h3>L</h3>", "<p class=\"prompt\">Once</p>", "<h4>before<b>-1</b></h4><p>sad</p>",
        "<h4>after</h4><p>happy</p>"})
    EXPECT_TRUE(has(page, part)) << part;
  EXPECT_LT(page.find("<h2>Results</h2>"), page.find("<h3>Loss</h3>"));
}

TEST_F(TrainingReportTest, AWrongReportJsonIsNamedByPlace) {
  EXPECT_EQ(complaint("{\"sections\": 1}"), "sections: expected an array, got 1");
  EXPECT_EQ(complaint("{\"sections\": [{\"text\": \"a\"}]}"),
            "sections[0]: expected an object with \"type\", got {\"text\":\"a\"}");
  EXPECT_EQ(complaint("{\"sections\": [{\"type\": \"pie\"}]}"),
            "sections[0].type: expected heading, text, callout, table, histogram, lines or "
            "samples, got \"pie\"");
  EXPECT_EQ(
      complaint(
          "{\"sections\": [{\"type\": \"table\", \"columns\": [\"a\"], \"rows\": [[1, 2]]}]}"),
      "sections[0].rows[0]: expected 1 cells, got [1,2]");
  EXPECT_EQ(
      complaint(
          "{\"sections\": [{\"type\": \"histogram\", \"samples\": [{\"values\": [\"x\"]}]}]}"),
      "sections[0].samples[0].values[0]: expected a number or null, got \"x\"");
  EXPECT_EQ(
      complaint(
          "{\"sections\": [{\"type\": \"lines\", \"series\": [{\"x\": [1, 2], \"y\": [1]}]}]}"),
      "sections[0].series[0]: expected as many x as y, got {\"x\":[1,2],\"y\":[1]}");
  EXPECT_EQ(
      complaint(
          "{\"sections\": [{\"type\": \"lines\", \"series\": [{\"x\": [2, 1], \"y\": [1, 1]}]}]}"),
      "sections[0].series[0]: expected x in rising order, got {\"x\":[2,1],\"y\":[1,1]}");
  EXPECT_EQ(complaint("{\"sections\": [{\"type\": \"samples\", \"columns\": [\"a\"], \"rows\": "
                      "[{\"cells\": []}]}]}"),
            "sections[0].rows[0].cells: expected 1 texts, got []");
  EXPECT_EQ(complaint("{\"sections\": [{\"type\": \"callout\", \"text\": \"a\", \"warning\": 1}]}"),
            "sections[0].warning: expected true or false, got 1");
  EXPECT_EQ(complaint("{\"title\": []}"), "title: expected a string or a number, got []");
}

TEST_F(TrainingReportTest, WithoutMetricsItSaysWhichFileIsMissing) {
  try {
    html();
    FAIL();
  } catch (const MissingFileError& error) {
    EXPECT_TRUE(has(error.what(), (folder_ / "metrics.jsonl").string())) << error.what();
  }
}

}  // namespace
}  // namespace luce
