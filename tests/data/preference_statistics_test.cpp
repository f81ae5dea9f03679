#include "luce/data/preference_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "data/temporary_folder.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

using Ids = std::vector<int64_t>;
using Rows = std::vector<Example>;
using Texts = std::vector<std::string>;

const Tokenizer& tiny() {
  static const auto tokenizer = [] {
    const TemporaryFolder folder;
    folder.write("tokenizer.model",
                 read_file(fs::path(LUCE_SOURCE_DIR) / "tests/data/files/tiny.model"));
    folder.write("tokenizer_config.json", "{}");
    return Tokenizer::load(folder.path());
  }();
  return *tokenizer;
}

Example pair(const Ids& prompt, const Ids& chosen, const Ids& rejected) {
  return {.prompt = prompt, .completions = {chosen, rejected}};
}

Example labelled(Example row, double preference) {
  row.preference = preference;
  return row;
}

/// `count` pairs of prompts of their own, from `first` on.
Rows pairs(int64_t first, int64_t count, const Ids& chosen, const Ids& rejected) {
  Rows rows;
  for (int64_t i = 0; i < count; ++i) rows.push_back(pair({first + i}, chosen, rejected));
  return rows;
}

Rows joined(Rows rows, const Rows& more) {
  rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

TEST(PreferenceStatistics, CountsPairsOfEachKind) {
  Rows rows = {pair({1}, {5, 6, 7}, {8}),           // longer
               pair({1}, {5}, {6, 8}),              // shorter
               pair({2}, {5, 6}, {8, 9}),           // of equal length
               labelled(pair({3}, {5}, {6}), 0.75)  // likewise, soft
               ,
               labelled(pair({4}, {5}, {6}), 0.5),  // a tie
               pair({5}, {7, 7}, {7, 7})};          // equal answers
  rows[0].rater = 0;
  rows[1].rater = rows[2].rater = 1;
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.pairs, 6);
  EXPECT_FALSE(s.from_scores);
  EXPECT_EQ(s.judged, 4);
  EXPECT_EQ(s.tied, 1);
  EXPECT_EQ(s.equal, 1);
  EXPECT_EQ(s.soft, 1);
  EXPECT_EQ(s.raters, 2);
  EXPECT_DOUBLE_EQ(s.chosen_length.value, (3 + 1 + 2 + 1) / 4.0);
  EXPECT_DOUBLE_EQ(s.rejected_length.value, (1 + 2 + 2 + 1) / 4.0);
  EXPECT_DOUBLE_EQ(s.chosen_length.error, mean_of({3, 1, 2, 1}).error);
  EXPECT_EQ(s.longer_chosen.count, 2);
  EXPECT_EQ(s.longer_chosen.value, 0.5);
  EXPECT_DOUBLE_EQ(s.longer_chosen.error, std::sqrt(0.125));
  EXPECT_EQ(s.equal_length, 2);
  EXPECT_EQ(s.prompts, 5);
  EXPECT_EQ(s.most_pairs, 2);
  EXPECT_EQ(s.prompts_by_pairs, (std::array<int64_t, 4>{4, 1, 0, 0}));
  EXPECT_EQ(s.distinct, 6);
  EXPECT_EQ(s.repeated, 0);
  EXPECT_EQ(s.decided_prompts, 3) << "those with a tie or equal answers alone are not decided";
  EXPECT_FALSE(s.has_eval);
}

TEST(PreferenceStatistics, ALabelBelowOneHalfSwapsTheAnswers) {
  const auto s = preference_statistics({labelled(pair({1}, {5, 6, 7}, {8}), 0.25)});
  EXPECT_EQ(s.chosen_length.value, 1);
  EXPECT_EQ(s.rejected_length.value, 3);
  EXPECT_EQ(s.soft, 1);
}

TEST(PreferenceStatistics, TellsHowManyPairsAPromptHas) {
  Rows rows;
  const auto add = [&](int64_t prompt, int64_t count) {
    for (int64_t i = 0; i < count; ++i) rows.push_back(pair({prompt}, {10 + i}, {50}));
  };
  add(1, 1), add(2, 2), add(3, 2), add(4, 3), add(5, 5), add(6, 6), add(7, 9);
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.prompts, 7);
  EXPECT_EQ(s.most_pairs, 9);
  EXPECT_EQ(s.prompts_by_pairs, (std::array<int64_t, 4>{1, 2, 2, 2}));
}

TEST(PreferenceStatistics, FindsPairsThatAreJudgedAgain) {
  const Rows rows = {pair({1}, {5}, {6}),
                     pair({1}, {5}, {6}),
                     pair({1}, {6}, {5}),  // 2 against 1
                     pair({2}, {5}, {6}),
                     pair({2}, {5}, {6}),  // 2 alike
                     pair({2}, {5}, {7}),  // once
                     pair({3}, {5}, {6}),  // once
                     labelled(pair({3}, {6}, {5}), 0.5),
                     pair({2}, {5}, {8})};  // a tie, and once
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.pairs, 9);
  EXPECT_EQ(s.distinct, 5);
  EXPECT_EQ(s.repeated, 2);
  EXPECT_EQ(s.contradicted, 1);
  EXPECT_EQ(s.contradicted_prompts, 1);
  EXPECT_EQ(s.decided_prompts, 2);
  // Couples of judgements: three of the first pair, of which two differ, and one of the second.
  EXPECT_DOUBLE_EQ(s.disagreement, 2.0 / 4);
}

TEST(PreferenceStatistics, ComparesPairsWhereverTheirPromptsEnd) {
  const auto s = preference_statistics({pair({1, 2}, {5}, {6}), pair({1}, {2, 5}, {2, 6})});
  EXPECT_EQ(s.prompts, 2);
  const Rows train = {pair({1, 2}, {5}, {6})}, eval = {pair({1}, {2, 6}, {2, 5})};
  const auto split = preference_statistics(train, &eval);
  EXPECT_EQ(split.eval_known_prompts, 0);
  EXPECT_EQ(split.eval_known_pairs, 1);
}

TEST(PreferenceStatistics, FindsTrainingRowsInTheEvaluation) {
  const Rows train = {pair({1}, {5}, {6}), pair({2}, {5}, {6})};
  const Rows eval = {pair({1}, {6}, {5}),  // the same pair in the other order
                     pair({2}, {5}, {7}),  // the same prompt
                     pair({3}, {5}, {6}),  // neither
                     {.prompt = {1}, .completions = {{5}}, .roles = {Role::chosen}}};  // no pair
  const auto s = preference_statistics(train, &eval);
  EXPECT_TRUE(s.has_eval);
  EXPECT_EQ(s.eval_pairs, 3);
  EXPECT_EQ(s.eval_known_prompts, 2);
  EXPECT_EQ(s.eval_known_pairs, 1);
  EXPECT_EQ(s.pairs, 2) << "counts are of the training rows";
}

TEST(PreferenceStatistics, TakesTheBestAndTheWorstOfScoredAnswers) {
  const std::vector<Role> roles(3, Role::ranked);
  const Rows rows = {
      {.prompt = {1},
       .completions = {{5}, {6, 6, 6}, {7, 7}},
       .roles = roles,
       .scores = {2, -1, 4}},
      {.prompt = {2}, .completions = {{5}, {6}, {7}}, .roles = roles, .scores = {1, 1, 1}},
      {.prompt = {3}, .completions = {{5}}, .roles = {Role::ranked}, .scores = {1}}};
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.pairs, 2);
  EXPECT_TRUE(s.from_scores);
  EXPECT_EQ(s.judged, 1);
  EXPECT_EQ(s.tied, 1);
  EXPECT_EQ(s.chosen_length.value, 2);
  EXPECT_EQ(s.rejected_length.value, 3);
  EXPECT_EQ(describe(s).substr(0, 72),
            "pairs: 2 (best and worst answer of a row) of 2 prompts, 1 a prompt and a");
}

TEST(PreferenceStatistics, PassesOverRowsThatAreNoPairs) {
  const Rows rows = {
      {.prompt = {1}, .completions = {{5}}, .roles = {Role::rejected}},
      {.prompt = {1}, .completions = {{5}}},
      {.prompt = {1}, .completions = {{5}, {6}}, .roles = {Role::chosen, Role::mismatched}}};
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.pairs, 0);
  EXPECT_EQ(describe(s), "");
  EXPECT_TRUE(advice(s).empty());
}

TEST(PreferenceStatistics, FindsTheFirstAndTheLastTokenThatTell) {
  // Token 7 begins 20 chosen and 1 rejected answer, 8 their opposites; 4 ends answers at random.
  Rows rows = pairs(100, 20, {7, 3}, {8, 3});
  rows.push_back(pair({200}, {8, 3}, {7, 3}));
  rows = joined(rows, pairs(300, 10, {9, 4}, {9, 3}));
  rows = joined(rows, pairs(400, 10, {9, 3}, {9, 4}));
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.marks_tried, 4) << "begin with 7 and 8, end with 3 and 4; 9 divides no pair";
  EXPECT_DOUBLE_EQ(s.mark_threshold, 0.0025);
  ASSERT_EQ(s.marks.size(), 2U);
  EXPECT_EQ(s.marks[0].name, "begin with token 7");
  EXPECT_EQ(s.marks[0].decides, 21);
  EXPECT_EQ(s.marks[0].chosen, 20);
  EXPECT_NEAR(s.marks[0].p, 2 * 22 / std::ldexp(1, 21), 1e-17);
  EXPECT_EQ(s.marks[1].name, "begin with token 8");
  EXPECT_EQ(s.marks[1].decides, 21);
  EXPECT_EQ(s.marks[1].chosen, 1);
}

TEST(PreferenceStatistics, AsksMoreOfOneMarkAmongMany) {
  // 9 of 9 are too few to be tried, 10 of 10 (p = 1/512) to be told among 20, not among 2.
  EXPECT_EQ(preference_statistics(pairs(0, 9, {7}, {8})).marks_tried, 0);
  EXPECT_TRUE(preference_statistics(pairs(0, 9, {7}, {8})).marks.empty());
  Rows rows = pairs(0, 10, {7, 3}, {8, 3});
  EXPECT_EQ(preference_statistics(rows).marks.size(), 2U);
  for (int64_t k = 0; k < 9; ++k)
    for (int64_t i = 0; i < 10; ++i) {
      const Ids even = {20 + 2 * k, 3}, odd = {21 + 2 * k, 3};
      rows.push_back(i < 5 ? pair({1000 + 10 * k + i}, even, odd)
                           : pair({1000 + 10 * k + i}, odd, even));
    }
  const auto s = preference_statistics(rows);
  EXPECT_EQ(s.marks_tried, 20);
  EXPECT_TRUE(s.marks.empty());
}

TEST(PreferenceStatistics, ReadsMarksInTheText) {
  const auto ids = [](const std::string& text) { return tiny().encode(text, false); };
  const int64_t eos = *tiny().eos();
  const auto names = [&](const std::string& chosen, const std::string& rejected, bool cut) {
    Ids good = ids(chosen), bad = ids(rejected);
    if (!cut) good.push_back(eos);
    bad.push_back(eos);
    Texts found;
    for (const auto& mark : preference_statistics(pairs(0, 20, good, bad), nullptr, &tiny()).marks)
      if (mark.chosen == 20) found.push_back(mark.name);
    return found;
  };
  using std::string;
  const auto has = [](const Texts& found, const string& name) {
    return std::find(found.begin(), found.end(), name) != found.end();
  };
  const string plain = "the fox sat";
  EXPECT_EQ(names("the fox sat", "the dog sat", false), Texts{});
  EXPECT_EQ(names("the fox sat", "the dog sat", true), (Texts{"lack the end of sequence"}));
  EXPECT_TRUE(has(names("the\nfox", plain, false), "contain a newline"));
  EXPECT_TRUE(has(names("the 7 fox", plain, false), "contain a digit"));
  EXPECT_TRUE(has(names("the **fox**", plain, false), "contain \"**\""));
  EXPECT_TRUE(has(names("the fox?", plain, false), "contain a question mark"));
  EXPECT_TRUE(has(names("the fox!", plain, false), "contain an exclamation mark"));
  for (const string text :
       {"- the fox", "the\n- fox", "the\n  * fox", "the\n1. fox", "12) the fox"})
    EXPECT_TRUE(has(names(text, plain, false), "contain a list")) << text;
  for (const string text : {"the - fox", "the\n-fox", "the 1. fox", "the\n1.5 fox", "the\n2 fox"})
    EXPECT_FALSE(has(names(text, plain, false), "contain a list")) << text;
  const Texts first = names("the fox", "good fox", false);
  EXPECT_EQ(first, (Texts{"begin with \"" + tiny().piece(ids("the fox")[0]) + "\""}));
}

TEST(PreferenceStatistics, RefusesIdsOutsideTheVocabulary) {
  const Rows rows = {pair({1}, {100000}, {5})};
  EXPECT_FALSE(error_of<DataError>([&] { preference_statistics(rows, nullptr, &tiny()); }).empty());
}

/// Pairs that call for no advice: enough of them, of equal lengths, and not all of them certain.
PreferenceStatistics quiet() {
  PreferenceStatistics s;
  s.pairs = s.judged = s.distinct = s.prompts = 2000;
  s.most_pairs = 1;
  s.prompts_by_pairs = {2000, 0, 0, 0};
  s.decided_prompts = 2000;
  s.soft = 1;
  s.equal_length = 2000;
  s.chosen_length = s.rejected_length = {10, 0.5, 2000};
  s.longer_chosen = {};
  return s;
}

TEST(PreferenceAdvice, IsSilentWhereNothingStandsOut) {
  EXPECT_EQ(advice(quiet()), Texts{});
  EXPECT_EQ(
      describe(quiet()),
      "pairs: 2000 of 2000 prompts, 1 a prompt and at most 1 (2000 with 1)\n"
      "  judged: 2000, 1 with a soft label\n"
      "  answer lengths (tokens): chosen 10 ± 0.5, rejected 10 ± 0.5; 2000 of equal length\n");
}

TEST(PreferenceAdvice, SpeaksOfLengthWhereItIsUnevenBeyondChance) {
  auto s = quiet();
  s.longer_chosen = share_of(70, 100);
  EXPECT_EQ(
      advice(s),
      (Texts{"Chosen answers are the longer ones in 70 % of the pairs (z = 4): a loss of "
             "summed log-probs can learn length instead of quality. Losses of means per token "
             "(sigmoid_norm, simpo), ld_alpha below 1, or as many pairs whose chosen answer "
             "is the shorter one counter that."}));
  s.longer_chosen = share_of(30, 100);
  EXPECT_EQ(advice(s),
            (Texts{"Chosen answers are the shorter ones in 70 % of the pairs (z = 4): a model can "
                   "learn to be brief instead of good. Watch the length of its samples, or balance "
                   "the answers by length."}));
  for (const auto& share : {share_of(60, 100), share_of(40, 100), share_of(5900, 10000),
                            share_of(16, 25), share_of(9, 25)}) {
    s.longer_chosen = share;
    EXPECT_EQ(advice(s), Texts{}) << share.value << " of " << share.count;
  }
}

TEST(PreferenceAdvice, SpeaksOfTheMarkThatTellsBest) {
  auto s = quiet();
  s.marks = {{"contain a list", 50, 45, 1e-9}, {"contain a digit", 40, 34, 1e-6}};
  const std::string behind =
      " of the pairs that this mark divides: a model can learn such a mark instead of what was "
      "judged. Look at these rows; where the mark is an accident of how answers were made, remove "
      "it or balance it.";
  EXPECT_EQ(advice(s), (Texts{"Answers that contain a list are chosen in 90 %" + behind}));
  s.marks[0].chosen = 5;
  EXPECT_EQ(advice(s), (Texts{"Answers that contain a list are rejected in 90 %" + behind}));
  s.marks = {{"lack the end of sequence", 50, 45, 1e-9}};
  EXPECT_EQ(advice(s), (Texts{"Whether an answer was cut tells which one is chosen: raise "
                              "data.max_length, or leave out rows that do not fit."}));
}

TEST(PreferenceAdvice, NamesLossesForCertainLabels) {
  auto s = quiet();
  s.soft = 0;
  const std::string text =
      " and no label is soft: the loss dpo falls as long as margins grow. ipo has a finite target, "
      "and so has dpo with loss.label_smoothing above 0.";
  EXPECT_EQ(advice(s), (Texts{"No pair is judged twice" + text}));
  s.repeated = 5;
  EXPECT_EQ(advice(s), (Texts{"No pair is judged both ways" + text}));
  s.tied = 1;
  EXPECT_EQ(advice(s), Texts{});
}

TEST(PreferenceAdvice, ForARewardModelNamesNoLossOfPolicies) {
  auto s = quiet();
  s.for_rewards = true;
  s.soft = 0;
  s.judged = 999;
  s.longer_chosen = share_of(70, 100);
  EXPECT_EQ(
      advice(s),
      (Texts{"Chosen answers are the longer ones in 70 % of the pairs (z = 4): a reward model "
             "can learn length instead of quality. Balance the answers by length.",
             "No pair is judged twice and no label is soft: rewards grow apart as long as "
             "training goes on. loss.label_smoothing above 0 gives margins a finite end.",
             "999 judged pairs are few (below 1000): a model soon knows them by heart. Fewer "
             "epochs hold it back, and data.eval shows when to stop."}));
}

TEST(PreferenceAdvice, NamesLossesForFewPairs) {
  auto s = quiet();
  s.judged = 999;
  const std::string text =
      " few (below 1000): a model soon knows them by heart. ipo, loss.label_smoothing, a larger "
      "loss.beta or fewer epochs hold it back, and data.eval shows when to stop.";
  EXPECT_EQ(advice(s), (Texts{"999 judged pairs are" + text}));
  s.judged = 1;
  EXPECT_EQ(advice(s), (Texts{"1 judged pair is" + text}));
  s.judged = 1000;
  EXPECT_EQ(advice(s), Texts{});
}

TEST(PreferenceAdvice, NamesNoLossOfPairsForScoredAnswers) {
  auto s = quiet();
  s.from_scores = true;
  s.soft = 0;
  s.repeated = 40;
  s.contradicted = 8;
  s.disagreement = 0.18;
  EXPECT_EQ(advice(s), Texts{});
  s.judged = 999;
  s.longer_chosen = share_of(70, 100);
  EXPECT_EQ(advice(s),
            (Texts{"Chosen answers are the longer ones in 70 % of the pairs (z = 4): a loss of "
                   "summed log-probs can learn length instead of quality. Balance the answers by "
                   "length.",
                   "999 judged pairs are few (below 1000): a model soon knows them by heart. Fewer "
                   "epochs hold it back, and data.eval shows when to stop."}));
}

TEST(PreferenceAdvice, TakesTheRateOfWrongLabelsFromRepetitions) {
  auto s = quiet();
  s.repeated = 40;
  s.contradicted = 8;
  s.disagreement = 0.18;  // 2 · 0.1 · 0.9
  const std::string start =
      "8 pairs are judged both ways, of 40 that are judged more than once; two judgements of a "
      "pair differ in 18 % of cases, as if 10 % of the labels were wrong: "
      "loss.label_smoothing=0.1 suits that, of dpo (less sure) or of robust (unbiased).";
  EXPECT_EQ(advice(s), (Texts{start}));
  s.raters = 3;
  EXPECT_EQ(advice(s),
            (Texts{start + " Where raters differ in taste, mixture serves each of them."}));
  s.raters = 0;
  s.disagreement = 0.6;
  EXPECT_EQ(advice(s),
            (Texts{"8 pairs are judged both ways, of 40 that are judged more than once; two "
                   "judgements of a pair differ in 60 % of cases, no less than by "
                   "chance: such labels tell nothing."}));
  s.repeated = 19;
  s.contradicted = 1;
  EXPECT_EQ(
      advice(s),
      (Texts{"1 pair is judged both ways, of 19 that are judged more than once: some labels are "
             "wrong or a matter of taste. loss.label_smoothing above 0 allows for that."}));
  s.repeated = 1;
  EXPECT_EQ(
      advice(s),
      (Texts{"1 pair is judged both ways, of 1 that is judged more than once: some labels are "
             "wrong or a matter of taste. loss.label_smoothing above 0 allows for that."}));
}

TEST(PreferenceAdvice, SpeaksOfRepeatedRows) {
  auto s = quiet();
  s.distinct = 1900;
  EXPECT_EQ(
      advice(s),
      (Texts{"100 rows repeat the pair of an earlier one (5 %): such pairs weigh as often as "
             "they stand there. Keep one of each unless these are judgements of their own."}));
  s.distinct = 1980;
  EXPECT_EQ(advice(s), Texts{}) << "1 % is let pass";
}

TEST(PreferenceAdvice, SpeaksOfAnEvaluationThatKnowsTheRows) {
  auto s = quiet();
  s.has_eval = true;
  s.eval_pairs = 50;
  EXPECT_EQ(advice(s), Texts{});
  s.eval_known_prompts = 4;
  s.eval_known_pairs = 2;
  EXPECT_EQ(advice(s),
            (Texts{"The evaluation is optimistic: 4 of its 50 pairs have a prompt of the "
                   "training rows. Split the rows by prompt."}));
  s.eval_known_prompts = 1;
  s.eval_known_pairs = 1;
  EXPECT_EQ(advice(s), (Texts{"The evaluation is optimistic: 1 of its 50 pairs has a prompt of the "
                              "training rows. Split the rows by prompt."}));
}

TEST(PreferenceDescription, HoldsAllThatWasCounted) {
  Rows rows = pairs(100, 20, {7, 3, 3}, {8, 3});
  rows.push_back(pair({100}, {8, 3}, {7, 3, 3}));
  rows.push_back(labelled(pair({500}, {9, 3}, {9, 4}), 0.75));
  rows.push_back(labelled(pair({500}, {9, 3}, {9, 5}), 0.5));
  rows.push_back(pair({501}, {9, 3}, {9, 3}));
  rows[0].rater = 0;
  rows[1].rater = 1;
  const Rows eval = {pair({100}, {8, 3}, {7, 3, 3}), pair({900}, {1}, {2})};
  const auto s = preference_statistics(rows, &eval);
  std::string sentences;
  for (const auto& sentence : advice(s)) sentences += "  - " + sentence + "\n";
  EXPECT_EQ(advice(s).size(), 6U);
  EXPECT_EQ(
      describe(s),
      std::string(
          "pairs: 24 of 22 prompts, 1.09 a prompt and at most 2 (20 with 1, 2 with 2)\n"
          "  judged: 22, 1 with a soft label, 1 tied, 1 with two equal answers, 2 raters\n"
          "  different pairs: 23, 1 judged more than once, 1 both ways (100 %)\n"
          "  prompts always decided alike: 20, with a contradiction: 1\n"
          "  answer lengths (tokens): chosen 2.91 ± 0.063, rejected 2.05 ± 0.045; the longer one "
          "is "
          "chosen in 95.2 ± 4.6 % of 21 pairs; 1 of equal length\n"
          "  marks that tell the chosen answer (of 2 tried, p below 0.005):\n"
          "    answers that begin with token 7: chosen in 95.2 ± 4.6 % of 21 pairs that it "
          "divides, "
          "p = 2.1e−5\n"
          "    answers that begin with token 8: chosen in 4.76 ± 4.6 % of 21 pairs that it "
          "divides, "
          "p = 2.1e−5\n"
          "  evaluation: 2 pairs, 1 with a prompt of the training rows, 1 that is in them\n") +
          sentences);
}

TEST(PreferenceDescription, ListsEightMarks) {
  auto s = quiet();
  s.marks_tried = 100;
  s.mark_threshold = 1e-4;
  for (int i = 0; i < 10; ++i) s.marks.push_back({cat("begin with token ", i), 50, 45, 1e-9});
  const std::string text = describe(s);
  EXPECT_NE(text.find("begin with token 7: "), std::string::npos);
  EXPECT_EQ(text.find("begin with token 8: "), std::string::npos);
  EXPECT_NE(text.find("\n    and 2 more\n  - Answers that begin with token 0 are"),
            std::string::npos);
}

}  // namespace
}  // namespace luce
