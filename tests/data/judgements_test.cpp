#include "luce/data/judgements.h"

#include <gtest/gtest.h>

#include "data/temporary_folder.h"
#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

using Ids = std::vector<int64_t>;
using Roles = std::vector<Role>;
using Numbers = std::vector<double>;

std::shared_ptr<const Tokenizer> load(const std::string& config) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model",
               read_file(fs::path(LUCE_SOURCE_DIR) / "tests/data/files/tiny.model"));
  folder.write("tokenizer_config.json", config);
  return Tokenizer::load(folder.path());
}

const Tokenizer& tiny() {
  static const auto tokenizer = load("{}");
  return *tokenizer;
}

Dataset load_text(const std::string& content, const DatasetOptions& options = {},
                  const Tokenizer* tokenizer = &tiny()) {
  const TemporaryFolder folder;
  return load_dataset(folder.write("rows.jsonl", content), tokenizer, options);
}

/// Why the only row of a file is bad.
std::string problem_of(const std::string& row, const DatasetOptions& options = {}) {
  const std::string start =
      "rows.jsonl: 1 of 1 rows are bad (100 %; more than 1 % stops):\n  rows.jsonl:1: ";
  const TemporaryFolder folder;
  const auto path = folder.write("rows.jsonl", row);
  const std::string error =
      folder.strip(error_of<DataError>([&] { load_dataset(path, &tiny(), options); }));
  EXPECT_EQ(error.substr(0, start.size()), start);
  return error.substr(std::min(start.size(), error.size()));
}

/// The completion of a plain row with this prompt and completion.
Ids answer(const std::string& prompt, const std::string& completion) {
  const Json row = {{"prompt", prompt}, {"completion", completion}};
  return load_text(row.dump()).examples.at(0).completions.at(0);
}

/// A pair with more columns.
std::string pair_with(const std::string& columns) {
  return R"({"prompt": "the fox", "chosen": " sang", "rejected": " sat", )" + columns + "}\n";
}

Ids concatenated(const std::vector<Ids>& parts) {
  Ids out;
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

TEST(Judgements, TheKeysOfTheFirstRowTellTheType) {
  const std::vector<std::pair<std::string, RowType>> cases = {
      {R"("chosen": "a b", "rejected": "a c", "completions": ["b"], "labels": [1])",
       RowType::preference},
      {R"("completions": ["b", "c"], "labels": [1, 0], "scores": [1, 2])", RowType::stepwise},
      {R"("completions": ["b", "c"], "ranks": [1, 2])", RowType::ranked},
      {R"("completions": ["b", "c"], "scores": [1, 2], "completion": "d", "label": 1)",
       RowType::ranked},
      {R"("completion": "b", "label": true, "score": 1)", RowType::unpaired},
      {R"("completion": "b", "score": 1, "label": null, "text": "c")", RowType::scored},
      {R"("completion": "b", "input_ids": [1, 2])", RowType::input_ids},
      {R"("completion": "b", "text": "c")", RowType::prompt_completion},
      {R"("text": "c", "score": 1, "label": 1)", RowType::text},
  };
  for (const auto& [columns, type] : cases) {
    const auto dataset = load_text("{\"prompt\": \"a\", " + columns + "}");
    EXPECT_EQ(name_of(dataset.type), name_of(type)) << columns;
    EXPECT_TRUE(dataset.report.detected);
    // A name in the options goes before the keys.
    const auto named = load_text(R"({"prompt": "a", "completion": "b", "label": 1, "score": 2})",
                                 {.type = "scored"});
    EXPECT_EQ(named.examples.at(0).scores, (Numbers{2}));
  }
}

TEST(Judgements, AllColumnsCanBeRenamed) {
  DatasetOptions options = {.column_map = {{"prompt", "p"},
                                           {"completion", "c"},
                                           {"label", "l"},
                                           {"score", "s"},
                                           {"completions", "cs"},
                                           {"ranks", "rs"},
                                           {"scores", "ss"},
                                           {"labels", "ls"},
                                           {"reference", "gold"},
                                           {"margin", "m"},
                                           {"rating", "r"},
                                           {"rater", "who"}}};
  options.ratings = "label";
  const auto first = [&](const std::string& row) { return load_text(row, options).examples.at(0); };
  EXPECT_EQ(first(R"({"p": "a", "c": "b", "l": 0})").roles, (Roles{Role::rejected}));
  EXPECT_EQ(first(R"({"p": "a", "c": "b", "s": 3})").scores, (Numbers{3}));
  EXPECT_EQ(first(R"({"p": "a", "cs": ["b", "c"], "rs": [1, 2]})").scores, (Numbers{-1, -2}));
  EXPECT_EQ(first(R"({"p": "a", "cs": ["b", "c"], "ss": [1, 2]})").scores, (Numbers{1, 2}));
  EXPECT_EQ(first(R"({"p": "a", "cs": ["b", "c"], "ls": [1, 1]})").steps.size(), 2u);
  const auto pair = first(
      R"({"p": "a", "chosen": "b", "rejected": "c", "gold": "d", "m": 2, "r": 1, "who": "x"})");
  EXPECT_EQ(pair.completions.size(), 3u);
  EXPECT_EQ(pair.margin, 2);
  EXPECT_EQ(pair.preference, 0.75);
  EXPECT_EQ(pair.rater, 0);
  EXPECT_EQ(problem_of(R"({"p": "a", "cs": ["b"], "ls": [1, 1]})", options),
            "\"ls\" has length 2, expected that of \"cs\", 1");
}

// ---- preference rows ----

TEST(Judgements, PlainPairsSayNothingMore) {
  const auto example = load_text(pair_with(R"("rating": null)")).examples.at(0);
  EXPECT_TRUE(example.roles.empty());
  EXPECT_EQ(example.role(0), Role::chosen);
  EXPECT_EQ(example.role(1), Role::rejected);
  EXPECT_EQ(example.margin, 0);
  EXPECT_EQ(example.preference, 1);
  EXPECT_EQ(example.rater, -1);
  EXPECT_TRUE(example.scores.empty());
  EXPECT_TRUE(example.steps.empty());
}

TEST(Judgements, AReferenceIsAThirdAnswer) {
  const auto example = load_text(pair_with(R"("reference": " was sad")")).examples.at(0);
  EXPECT_EQ(example.roles, (Roles{Role::chosen, Role::rejected, Role::gold}));
  EXPECT_EQ(example.completions,
            (std::vector<Ids>{answer("the fox", " sang"), answer("the fox", " sat"),
                              answer("the fox", " was sad")}));
  // An implicit prompt is taken off the reference too.
  const auto implicit = load_text(
      R"({"chosen": "the fox sang", "rejected": "the fox was", "reference": "the fox is sad"})");
  const auto stated = load_text(
      R"({"prompt": "the fox", "chosen": " sang", "rejected": " was", "reference": " is sad"})");
  EXPECT_EQ(implicit.examples.at(0).prompt, stated.examples.at(0).prompt);
  EXPECT_EQ(implicit.examples.at(0).completions, stated.examples.at(0).completions);
  EXPECT_EQ(
      problem_of(R"({"chosen": "the fox sang", "rejected": "the fox was", "reference": "a bear"})"),
      "\"reference\" does not start with the prompt that \"chosen\" and \"rejected\" share; write "
      "the prompt as \"prompt\"");
  EXPECT_EQ(problem_of(pair_with(R"("reference": ["b"])")),
            "\"reference\" is a list, expected a string");
}

TEST(Judgements, AReferenceCountsLikeTheOtherAnswers) {
  const auto whole = load_text(pair_with(R"("reference": " was very sad and sat in the river")"));
  const auto& example = whole.examples.at(0);
  const auto pair_length =
      static_cast<int64_t>(example.prompt.size() +
                           std::max(example.completions[0].size(), example.completions[1].size()));
  const auto cut = load_text(pair_with(R"("reference": " was very sad and sat in the river")"),
                             {.max_length = pair_length});
  EXPECT_EQ(cut.report.truncated, 1);
  EXPECT_EQ(cut.examples.at(0).completions[0], example.completions[0]);
  EXPECT_EQ(static_cast<int64_t>(cut.examples.at(0).prompt.size() +
                                 cut.examples.at(0).completions[2].size()),
            pair_length);
  // The prompt's last tokens merge into the reference alone.
  const auto boundaries = [](const std::string& reference) {
    return load_text(
               R"({"prompt": "The fo", "chosen": " sang", "rejected": " sat", "reference": ")" +
               reference + "\"}")
        .report.boundary;
  };
  EXPECT_EQ(boundaries("x sang"), 1);
  EXPECT_EQ(boundaries(" was"), 0);
  // Without EOS nothing is left of an empty one.
  const auto empty =
      load_text(pair_with(R"("reference": "")") + pair_with(R"("margin": 1)"), {.add_eos = false});
  EXPECT_EQ(empty.report.empty, 1);
  EXPECT_EQ(empty.report.kept, 1);
  // Equal answers of a pair are counted beside a reference too.
  EXPECT_EQ(load_text(R"({"prompt": "a", "chosen": "b", "rejected": "b", "reference": "c"})")
                .report.equal_pairs,
            1);
  EXPECT_EQ(load_text(R"({"prompt": "a", "completions": ["b", "b"], "ranks": [1, 2]})")
                .report.equal_pairs,
            0);
}

TEST(Judgements, MarginsAreTakenAsTheyAre) {
  EXPECT_EQ(load_text(pair_with(R"("margin": -1.5)")).examples.at(0).margin, -1.5);
  EXPECT_EQ(load_text(pair_with(R"("margin": 2)")).examples.at(0).margin, 2);
}

TEST(Judgements, ARatingBecomesWhatTheOptionSays) {
  struct Case {
    std::string ratings;
    int rating;
    double margin, preference;
  };
  const std::vector<Case> cases = {
      {"margin", 2, 1, 1},        {"margin", 1, 1.0 / 3, 1}, {"margin", -1, 1.0 / 3, 1},
      {"margin", -2, 1, 1},       {"margin", 0, 0, 0.5},     {"wide_margin", 2, 3, 1},
      {"wide_margin", 1, 1, 1},   {"wide_margin", -1, 1, 1}, {"wide_margin", -2, 3, 1},
      {"wide_margin", 0, 0, 0.5}, {"label", 2, 0, 0.95},     {"label", 1, 0, 0.75},
      {"label", -1, 0, 0.75},     {"label", -2, 0, 0.95},    {"label", 0, 0, 0.5},
      {"ignore", 2, 0, 1},        {"ignore", -2, 0, 1},      {"ignore", 0, 0, 1},
  };
  const Ids sang = answer("the fox", " sang"), sat = answer("the fox", " sat");
  for (const auto& [ratings, rating, margin, preference] : cases) {
    SCOPED_TRACE(cat(ratings, " ", rating));
    const auto dataset =
        load_text(pair_with(cat("\"rating\": ", rating)), {.ratings = ratings, .ties = "half"});
    const auto& example = dataset.examples.at(0);
    EXPECT_EQ(example.margin, margin);
    EXPECT_EQ(example.preference, preference);
    const bool ignored = ratings == "ignore", swapped = rating < 0 && !ignored;
    EXPECT_EQ(example.completions,
              swapped ? (std::vector<Ids>{sat, sang}) : (std::vector<Ids>{sang, sat}));
    EXPECT_EQ(dataset.report.rated, ignored);
    EXPECT_EQ(dataset.report.swapped, swapped);
    EXPECT_EQ(dataset.report.tied, rating == 0 && !ignored);
  }
}

TEST(Judgements, ASwapLeavesTheReferenceAndTurnsAMarginOfTheRowsOwn) {
  const auto example = load_text(pair_with(R"("rating": -2, "margin": 1.5, "reference": " was")"),
                                 {.ratings = "label"})
                           .examples.at(0);
  EXPECT_EQ(example.completions,
            (std::vector<Ids>{answer("the fox", " sat"), answer("the fox", " sang"),
                              answer("the fox", " was")}));
  EXPECT_EQ(example.roles, (Roles{Role::chosen, Role::rejected, Role::gold}));
  EXPECT_EQ(example.margin, -1.5);
  EXPECT_EQ(example.preference, 0.95);
}

TEST(Judgements, TiesAreDroppedOrKeptAsHalves) {
  const std::string rows =
      pair_with(R"("rating": 0)") + pair_with(R"("rating": 1)") + pair_with(R"("rating": 0.0)");
  const auto dropped = load_text(rows, {.ratings = "margin"});
  EXPECT_EQ(dropped.report.kept, 1);
  EXPECT_EQ(dropped.report.tied, 2);
  EXPECT_EQ(dropped.report.bad, 0);
  EXPECT_EQ(dropped.examples.at(0).row, 2);
  const auto halves = load_text(rows, {.ratings = "margin", .ties = "half"});
  EXPECT_EQ(halves.report.kept, 3);
  EXPECT_EQ(halves.report.tied, 2);
  const auto with_margin =
      load_text(pair_with(R"("rating": 0, "margin": 4)"), {.ratings = "label", .ties = "half"});
  EXPECT_EQ(with_margin.examples.at(0).margin, 0);
  const TemporaryFolder folder;
  const auto path = folder.write("rows.jsonl", pair_with(R"("rating": 0)"));
  EXPECT_EQ(
      folder.strip(error_of<DataError>([&] { load_dataset(path, &tiny(), {.ratings = "label"}); })),
      "rows.jsonl: none of its 1 rows is left: 0 with a prompt of max_length (1024) tokens "
      "or more, 0 with an empty answer, 0 bad, 1 tied");
}

TEST(Judgements, RatersAreNumberedInTheOrderOfAppearance) {
  const auto dataset = load_text(
      pair_with(R"("rater": "mia")") + pair_with(R"("rater": 12)") + pair_with(R"("margin": 1)") +
          pair_with(R"("rater": "12")") + pair_with(R"("rating": 0, "rater": "of a dropped row")") +
          pair_with(R"("rater": 18446744073709551615)") + pair_with(R"("rater": "mia")"),
      {.ratings = "label"});
  EXPECT_EQ(dataset.raters, (std::vector<std::string>{"mia", "12", "18446744073709551615"}));
  Ids raters;
  for (const auto& example : dataset.examples) raters.push_back(example.rater);
  EXPECT_EQ(raters, (Ids{0, 1, -1, 1, 2, 0}));
}

TEST(Judgements, WrongJudgementsOfPairsAreNamed) {
  const DatasetOptions label = {.ratings = "label"}, margin = {.ratings = "margin"};
  EXPECT_EQ(problem_of(pair_with(R"("margin": "1")")), "\"margin\" is a string, expected a number");
  EXPECT_EQ(problem_of(pair_with(R"("margin": true)")),
            "\"margin\" is true or false, expected a number");
  EXPECT_EQ(problem_of(pair_with(R"("margin": NaN)"), {.type = "preference"}),
            "column 72: not valid JSON near '\"margin\": N'");
  EXPECT_EQ(problem_of(pair_with(R"("margin": 1e999)"), {.type = "preference"}),
            "column 76: not valid JSON near '1e999'");
  EXPECT_EQ(problem_of(pair_with(R"("rating": 3)"), label),
            "\"rating\" is 3, expected a whole number from -2 to 2");
  EXPECT_EQ(problem_of(pair_with(R"("rating": -2.5)"), margin),
            "\"rating\" is -2.5, expected a whole number from -2 to 2");
  EXPECT_EQ(problem_of(pair_with(R"("rating": 0.5)"), margin),
            "\"rating\" is 0.5, expected a whole number from -2 to 2");
  EXPECT_EQ(problem_of(pair_with(R"("rating": "good")"), label),
            "\"rating\" is a string, expected a number");
  EXPECT_EQ(problem_of(pair_with(R"("rating": 0, "margin": 1)"), margin),
            "\"margin\" and \"rating\" are both there, expected one of them where data.ratings is "
            "\"margin\", which makes a margin of the rating");
  EXPECT_EQ(problem_of(pair_with(R"("rater": 1.5)")),
            "\"rater\" is 1.5, expected a string or a whole number");
  EXPECT_EQ(problem_of(pair_with(R"("rater": ["mia"])")),
            "\"rater\" is a list, expected a string or a whole number");
  // A rating that is ignored may be anything, and leaves the margin alone.
  const auto ignored = load_text(pair_with(R"("rating": "five stars", "margin": 2)"));
  EXPECT_EQ(ignored.examples.at(0).margin, 2);
  EXPECT_EQ(ignored.report.rated, 1);
}

// ---- judged answers ----

TEST(Judgements, UnpairedRowsAreChosenOrRejected) {
  const std::string start = R"({"prompt": "the fox", "completion": " sang", "label": )";
  const auto dataset = load_text(start + "true}\n" + start + "false}\n" + start + "1}\n" + start +
                                 "0}\n" + start + "1.0}\n");
  Roles roles;
  for (const auto& example : dataset.examples) {
    ASSERT_EQ(example.roles.size(), 1u);
    roles.push_back(example.roles[0]);
    EXPECT_EQ(example.completions, (std::vector<Ids>{answer("the fox", " sang")}));
  }
  EXPECT_EQ(roles,
            (Roles{Role::chosen, Role::rejected, Role::chosen, Role::rejected, Role::chosen}));
  EXPECT_EQ(problem_of(start + "2}"), "\"label\" is 2, expected true, false, 1 or 0");
  EXPECT_EQ(problem_of(start + "\"true\"}"), "\"label\" is a string, expected true, false, 1 or 0");
  EXPECT_EQ(problem_of(R"({"prompt": "a", "completion": "b"})", {.type = "unpaired"}),
            "\"label\" is missing");
}

TEST(Judgements, ScoredRowsKeepTheirScoreAndStayApart) {
  const std::string start = R"({"prompt": "the fox", "completion": " sang", "score": )";
  const auto dataset = load_text(start + "-0.1}\n" + start + "7}\n");
  ASSERT_EQ(dataset.examples.size(), 2u);
  EXPECT_EQ(dataset.examples[0].roles, (Roles{Role::ranked}));
  EXPECT_EQ(dataset.examples[0].scores, (Numbers{-0.1}));
  EXPECT_EQ(dataset.examples[1].scores, (Numbers{7}));
  EXPECT_EQ(problem_of(start + "\"7\"}"), "\"score\" is a string, expected a number");
  EXPECT_EQ(problem_of(start + "false}"), "\"score\" is true or false, expected a number");
}

TEST(Judgements, ScoredRowsOfOnePromptAreGrouped) {
  const auto row = [](const std::string& prompt, const std::string& completion, double score) {
    return Json{{"prompt", prompt}, {"completion", completion}, {"score", score}}.dump() + "\n";
  };
  const auto grouped =
      group_by_prompt(load_text(row("the fox", " sang", 1) + row("a bear", " sat", 2) +
                                row("the fox", " was", 3) + row("the fox", " is", -4)));
  ASSERT_EQ(grouped.examples.size(), 2u);
  const auto& fox = grouped.examples[0];
  EXPECT_EQ(fox.row, 1);
  EXPECT_EQ(fox.completions,
            (std::vector<Ids>{answer("the fox", " sang"), answer("the fox", " was"),
                              answer("the fox", " is")}));
  EXPECT_EQ(fox.scores, (Numbers{1, 3, -4}));
  EXPECT_EQ(fox.roles, (Roles{Role::ranked, Role::ranked, Role::ranked}));
  EXPECT_EQ(grouped.examples[1].row, 2);
  EXPECT_EQ(grouped.examples[1].scores, (Numbers{2}));
  EXPECT_EQ(grouped.report.kept, 4);
  // Other rows stay apart.
  const auto pairs =
      group_by_prompt(load_text(pair_with(R"("margin": 1)") + pair_with(R"("margin": 2)")));
  EXPECT_EQ(pairs.examples.size(), 2u);
  EXPECT_EQ(pairs.examples[1].margin, 2);
}

TEST(Judgements, RanksAreScoresTheOtherWayRound) {
  const std::string start = R"({"prompt": "the fox", "completions": [" sang", " sat", " was"], )";
  const auto ranks = load_text(start + R"("ranks": [2, 1, 2.5]})").examples.at(0);
  EXPECT_EQ(ranks.scores, (Numbers{-2, -1, -2.5}));
  EXPECT_EQ(ranks.roles, (Roles{Role::ranked, Role::ranked, Role::ranked}));
  EXPECT_EQ(ranks.completions,
            (std::vector<Ids>{answer("the fox", " sang"), answer("the fox", " sat"),
                              answer("the fox", " was")}));
  EXPECT_EQ(load_text(start + R"("scores": [2, 1, 2.5]})").examples.at(0).scores,
            (Numbers{2, 1, 2.5}));
}

TEST(Judgements, WrongRankedRowsAreNamed) {
  const auto problem = [](const std::string& columns) {
    return problem_of("{\"prompt\": \"a\", " + columns + "}", {.type = "ranked"});
  };
  const std::string two = R"("completions": ["b", "c"], )";
  EXPECT_EQ(problem(R"("completions": ["b"], "ranks": [1])"),
            "\"completions\" has length 1, expected 2 or more");
  EXPECT_EQ(problem(two + R"("ranks": [1, 2, 3])"),
            "\"ranks\" has length 3, expected that of \"completions\", 2");
  EXPECT_EQ(problem(two + R"("scores": [1])"),
            "\"scores\" has length 1, expected that of \"completions\", 2");
  EXPECT_EQ(problem(two + R"("scores": [1, 2], "ranks": [1, 2])"),
            "\"ranks\" and \"scores\" are both there, expected one of them");
  EXPECT_EQ(problem(two + R"("label": 1)"),
            "\"ranks\" and \"scores\" are both missing, expected one of them");
  EXPECT_EQ(problem(two + R"("scores": [1, "2"])"),
            "\"scores\" holds a string at place 1, expected a number");
  EXPECT_EQ(problem(two + R"("scores": [null, 2])"),
            "\"scores\" holds null at place 0, expected a number");
  EXPECT_EQ(problem(two + R"("ranks": 1)"), "\"ranks\" is a number, expected a list of numbers");
  EXPECT_EQ(problem(two + R"("scores": [1, -Infinity])"), "column 59: not valid JSON near '-I'");
  EXPECT_EQ(problem(R"("completions": "b", "ranks": [1])"),
            "\"completions\" is a string, expected a list of strings");
  EXPECT_EQ(problem(R"("completions": ["b", 3], "ranks": [1, 2])"),
            "\"completions\" holds a number at place 1, expected a string");
  EXPECT_EQ(problem(R"("completions": ["b", "\u0000"], "ranks": [1, 2])"),
            "\"completions\" holds a NUL character");
  EXPECT_EQ(problem(R"("ranks": [1, 2])"), "\"completions\" is missing");
  EXPECT_EQ(problem_of(R"({"completions": ["b", "c"], "ranks": [1, 2]})"), "\"prompt\" is missing");
}

TEST(Judgements, AnEmptyAnswerAmongRankedOnesDropsTheRow) {
  const std::string rows = R"({"prompt": "a", "completions": ["b", ""], "ranks": [1, 2]}
{"prompt": "a", "completions": ["b", "c"], "ranks": [1, 2]}
)";
  EXPECT_EQ(load_text(rows).report.kept, 2);  // EOS is an answer
  const auto dataset = load_text(rows, {.add_eos = false});
  EXPECT_EQ(dataset.report.empty, 1);
  EXPECT_EQ(dataset.report.kept, 1);
}

TEST(Judgements, ChatMessagesInNewColumnsAreRefused) {
  const std::string message = R"([{"role": "user", "content": "hi"}])";
  for (const std::string& completions : {message, "[" + message + "]"}) {
    const TemporaryFolder folder;
    const auto path = folder.write(
        "rows.jsonl", "{\"prompt\": \"a\", \"ranks\": [1], \"completions\": " + completions + "}");
    EXPECT_EQ(folder.strip(error_of<DataError>([&] { load_dataset(path, &tiny(), {}); })),
              "rows.jsonl:1: the row holds a list of chat messages; chat templates are not read by "
              "this version: write the rows as the text that the template makes of them");
  }
}

// ---- steps ----

const std::string kSteps =
    R"({"prompt": "the fox", "completions": ["It sang.", "So it was sad.", ""], )";

// TRL's PRMTrainer with transformers 5.23.0 makes the same ids, without EOS.
TEST(Judgements, StepsAreTokenizedApartWithANewlineBehindEach) {
  const std::string row = kSteps + R"("labels": [true, 0, 1]})";
  const auto example = load_text(row).examples.at(0);
  const Ids first = {310, 342, 313, 262, 270, 327, 326, 310, 13},
            second = {310, 350, 317, 310, 302, 297, 262, 277, 326, 310, 13}, third = {310, 13};
  EXPECT_EQ(example.prompt, (Ids{1, 263, 282, 306}));
  EXPECT_EQ(example.completions, (std::vector<Ids>{concatenated({first, second, third, {2}})}));
  EXPECT_EQ(load_text(row, {.add_eos = false}).examples.at(0).completions,
            (std::vector<Ids>{concatenated({first, second, third})}));
  ASSERT_EQ(example.steps.size(), 3u);
  EXPECT_EQ(example.steps[0].end, 9);
  EXPECT_EQ(example.steps[1].end, 20);
  EXPECT_EQ(example.steps[2].end, 23);
  EXPECT_TRUE(example.steps[0].right);
  EXPECT_FALSE(example.steps[1].right);
  EXPECT_TRUE(example.steps[2].right);
}

TEST(Judgements, AnAnswerIsRightWhenAllItsStepsAreUnlessItsLabelSaysOtherwise) {
  const auto role = [](const std::string& columns) {
    return load_text(kSteps + columns + "}").examples.at(0).roles;
  };
  EXPECT_EQ(role(R"("labels": [1, 1, 1])"), (Roles{Role::chosen}));
  EXPECT_EQ(role(R"("labels": [1, 0, 1])"), (Roles{Role::rejected}));
  EXPECT_EQ(role(R"("labels": [1, 0, 1], "label": true)"), (Roles{Role::chosen}));
  EXPECT_EQ(role(R"("labels": [1, 1, 1], "label": 0)"), (Roles{Role::rejected}));
}

TEST(Judgements, StepsThatDoNotFitWhollyAreCutOff) {
  const std::string row = kSteps + R"("labels": [1, 1, 0]})";
  const auto whole = load_text(row).examples.at(0);
  const auto prompt = static_cast<int64_t>(whole.prompt.size());
  const auto kept_steps = [&](int64_t completion) {
    const auto dataset = load_text(row, {.max_length = prompt + completion});
    const auto& example = dataset.examples.at(0);
    EXPECT_EQ(dataset.report.truncated, example.steps.size() < 3);
    // The last step that is left is whole, and the answer is judged by all of its steps.
    EXPECT_EQ(static_cast<int64_t>(example.completions[0].size()), example.steps.back().end);
    EXPECT_EQ(example.steps.back().end, whole.steps[example.steps.size() - 1].end);
    EXPECT_EQ(example.roles, (Roles{Role::rejected}));
    return example.steps.size();
  };
  EXPECT_EQ(kept_steps(whole.steps[2].end), 3u);
  EXPECT_EQ(kept_steps(whole.steps[2].end - 1), 2u);  // EOS is a part of the last step
  EXPECT_EQ(kept_steps(whole.steps[1].end), 2u);
  EXPECT_EQ(kept_steps(whole.steps[1].end - 1), 1u);
  EXPECT_EQ(kept_steps(whole.steps[0].end), 1u);
  const TemporaryFolder folder;
  const auto path = folder.write("rows.jsonl", row);
  for (const int64_t length : {prompt + whole.steps[0].end - 1, prompt, int64_t{2}})
    EXPECT_EQ(folder.strip(error_of<DataError>(
                  [&] { load_dataset(path, &tiny(), {.max_length = length}); })),
              cat("rows.jsonl: none of its 1 rows is left: 1 whose prompt and first step do not "
                  "fit in max_length (",
                  length, ") tokens, 0 with an empty answer, 0 bad"));
}

TEST(Judgements, WithoutAPromptTheFirstTokenOfTheFirstStepIsIt) {
  const auto no_bos = load(R"({"add_bos_token": false})");
  const auto dataset = load_text(
      R"({"prompt": "", "completions": ["the fox", "sang"], "labels": [1, 0]})", {}, no_bos.get());
  const auto& example = dataset.examples.at(0);
  const Ids newline = tiny().encode("\n", false), first = tiny().encode("the fox", false),
            second = tiny().encode("sang", false);
  const Ids whole = concatenated({first, newline, second, newline, {2}});
  EXPECT_EQ(example.prompt, (Ids{whole[0]}));
  EXPECT_EQ(example.completions, (std::vector<Ids>{Ids(whole.begin() + 1, whole.end())}));
  EXPECT_EQ(example.steps[0].end, static_cast<int64_t>(first.size() + newline.size()) - 1);
  EXPECT_EQ(example.steps[1].end, static_cast<int64_t>(whole.size()) - 1);
}

TEST(Judgements, AStepWithoutATokenDropsTheRow) {
  // Its newline is the only token of the first step, and stands for the prompt.
  const auto bare = load(R"({"add_bos_token": false, "add_prefix_space": false})");
  ASSERT_EQ(bare->encode("\n", false).size(), 1u);
  const auto dataset = load_text(R"({"prompt": "", "completions": ["", "b"], "labels": [1, 0]}
{"prompt": "", "completions": ["b", ""], "labels": [1, 0]}
)",
                                 {}, bare.get());
  EXPECT_EQ(dataset.report.empty, 1);
  EXPECT_EQ(dataset.report.kept, 1);
}

TEST(Judgements, WrongStepwiseRowsAreNamed) {
  const auto problem = [](const std::string& columns) {
    return problem_of("{\"prompt\": \"a\", " + columns + "}", {.type = "stepwise"});
  };
  const std::string two = R"("completions": ["b", "c"], )";
  EXPECT_EQ(problem(R"("completions": [], "labels": [])"),
            "\"completions\" has length 0, expected 1 or more");
  EXPECT_EQ(problem(two + R"("labels": [1])"),
            "\"labels\" has length 1, expected that of \"completions\", 2");
  EXPECT_EQ(problem(two + R"("labels": [1, 2])"),
            "\"labels\" holds 2 at place 1, expected true, false, 1 or 0");
  EXPECT_EQ(problem(two + R"("labels": ["+", 1])"),
            "\"labels\" holds a string at place 0, expected true, false, 1 or 0");
  EXPECT_EQ(problem(two + R"("labels": true)"),
            "\"labels\" is true or false, expected a list of true, false, 1 or 0");
  EXPECT_EQ(problem(two + R"("labels": [1, 1], "label": "right")"),
            "\"label\" is a string, expected true, false, 1 or 0");
  EXPECT_EQ(problem(R"("completions": ["b"])"), "\"labels\" is missing");
}

}  // namespace
}  // namespace luce
