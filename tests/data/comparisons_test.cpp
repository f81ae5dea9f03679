#include "luce/data/comparisons.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "data/temporary_folder.h"

namespace luce {
namespace {

using Values = std::vector<double>;
using Matrix = std::vector<Values>;

TEST(WinRate, CountsTiesAsHalf) {
  const WinRate w = win_rate(5, 2, 3);
  EXPECT_DOUBLE_EQ(w.rate.value, 0.6);
  EXPECT_EQ(w.rate.count, 10);
  // Mean square of 5 times 1, 2 times ½ and 3 times 0, less the mean's.
  EXPECT_DOUBLE_EQ(w.rate.error, std::sqrt((5.5 / 10 - 0.36) / 10));
  EXPECT_DOUBLE_EQ(w.interval.low, wilson_interval(0.6, 10).low);
  EXPECT_DOUBLE_EQ(w.interval.high, wilson_interval(0.6, 10).high);
  EXPECT_DOUBLE_EQ(win_rate(3, 0, 1).rate.error, share_of(3, 4).error);
  EXPECT_EQ(win_rate(0, 7, 0).rate.value, 0.5);
  EXPECT_EQ(win_rate(0, 7, 0).rate.error, 0);
  EXPECT_EQ(win_rate(4, 0, 0).interval.high, 1);
}

TEST(WinRate, RefusesNothingAndLess) {
  EXPECT_EQ(error_of<ArgumentError>([] { win_rate(0, 0, 0); }),
            "win_rate: 0 wins, 0 ties and 0 losses, expected none negative and not all 0");
  EXPECT_EQ(error_of<ArgumentError>([] { win_rate(1, -2, 3); }),
            "win_rate: 1 wins, -2 ties and 3 losses, expected none negative and not all 0");
}

TEST(WinRate, OfPromptsHasTheErrorOverPrompts) {
  const WinRate w = win_rate({{1, 1, 0.5, 1}, {0}, {0, 1}});
  // Means by prompt: 7/8, 0, ½.
  const double mean = (0.875 + 0 + 0.5) / 3;
  EXPECT_DOUBLE_EQ(w.rate.value, mean);
  EXPECT_DOUBLE_EQ(w.rate.error, mean_of({0.875, 0, 0.5}).error);
  EXPECT_EQ(w.rate.count, 3);
  EXPECT_DOUBLE_EQ(w.interval.low, wilson_interval(mean, 3).low);
  // Ten judgements of each prompt that all agree are worth one of each.
  const WinRate once = win_rate({{1}, {0}, {1}});
  const WinRate often = win_rate({Values(10, 1.0), Values(10, 0.0), Values(10, 1.0)});
  EXPECT_EQ(once.rate.value, often.rate.value);
  EXPECT_EQ(once.rate.error, often.rate.error);
}

TEST(WinRate, OfPromptsRefusesWhatIsNoResult) {
  const auto error = [](const Matrix& results) {
    return error_of<ArgumentError>([&] { win_rate(results); });
  };
  EXPECT_EQ(error({}), "win_rate: there are no prompts");
  EXPECT_EQ(error({{1}, {}}), "win_rate: prompt 1 has no results");
  EXPECT_EQ(error({{1, 2}}),
            "win_rate: prompt 0 has the result 2, expected a number from 0 (lost) to 1 (won)");
}

TEST(ReadComparisons, CountsWinsAndTies) {
  const TemporaryFolder folder;
  const ComparisonTable table = read_comparisons(
      folder.write("rows.jsonl", R"({"first": "dpo", "second": "ipo", "winner": "first"}
{"first": "ipo", "second": "dpo", "winner": "second", "prompt": "other keys are ignored"}

{"first": "sft", "second": "dpo", "winner": "tie"}
{"first": "dpo", "second": "ipo", "winner": "second"}
)"));
  EXPECT_EQ(table.names, (std::vector<std::string>{"dpo", "ipo", "sft"}));
  EXPECT_EQ(table.wins, (Matrix{{0, 2, 0}, {1, 0, 0}, {0, 0, 0}}));
  EXPECT_EQ(table.ties, (Matrix{{0, 0, 1}, {0, 0, 0}, {1, 0, 0}}));
}

TEST(ReadComparisons, NamesTheLinesOfAllBadRows) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& content) {
    const auto path = folder.write("rows.jsonl", content);
    return folder.strip(error_of<DataError>([&] { read_comparisons(path); }));
  };
  EXPECT_EQ(error(R"({"first": "a", "second": "b", "winner": "first"}
{"first": "a", "second": "b"}
{"first": 1, "second": "b", "winner": "first"}
{"first": "a", "second": "", "winner": "first"}
{"first": "a", "second": "a", "winner": "first"}
{"first": "a", "second": "b", "winner": "a"}
[1]
)"),
            "rows.jsonl: 6 of 7 rows are no comparisons:\n"
            "  rows.jsonl:2: \"winner\" is missing\n"
            "  rows.jsonl:3: \"first\" is 1, expected a string that is not empty\n"
            "  rows.jsonl:4: \"second\" is \"\", expected a string that is not empty\n"
            "  rows.jsonl:5: \"first\" and \"second\" are both \"a\", expected two names\n"
            "  rows.jsonl:6: \"winner\" is \"a\", expected \"first\", \"second\" or \"tie\"\n"
            "  rows.jsonl:7: expected an object { … }, got a list");
  EXPECT_EQ(error("\n"), "rows.jsonl holds no rows");
  std::string many;
  for (int i = 0; i < 25; ++i) many += "{}\n";
  const std::string text = error(many);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 21);
  EXPECT_EQ(text.substr(text.rfind('\n')), "\n  and 5 more");
}

/// The mean over all subsets of n samples of the mean score of those with the greatest proxy score.
double by_enumeration(const Values& proxy, const Values& scores, int n) {
  double sum = 0;
  int subsets = 0;
  for (unsigned set = 0; set < 1U << proxy.size(); ++set) {
    if (__builtin_popcount(set) != n) continue;
    ++subsets;
    double best = -1e300, of_best = 0;
    int count = 0;
    for (size_t i = 0; i < proxy.size(); ++i) {
      if (!(set >> i & 1U)) continue;
      if (proxy[i] > best) best = proxy[i], of_best = 0, count = 0;
      if (proxy[i] == best) of_best += scores[i], ++count;
    }
    sum += of_best / count;
  }
  return sum / subsets;
}

TEST(BestOfN, IsTheMeanOverAllSubsets) {
  const Matrix proxy = {
      {0.3, -1, 2.5, 0.7, 0.1, 4, -2}, {1, 3, 3, 1, 3, 0, 2}, {5, 5, 5, 5, 5, 5, 5}};
  const Matrix gold = {{1, 2, 0, 4, 4, -3, 1}, {2, 7, 1, 0, 4, 9, 3}, {1, 2, 3, 4, 5, 6, 7}};
  const BestOfN best = best_of_n(proxy, gold);
  ASSERT_EQ(best.proxy.size(), 7U);
  ASSERT_EQ(best.gold.size(), 7U);
  ASSERT_EQ(best.kl.size(), 7U);
  for (int n = 1; n <= 7; ++n) {
    Values of_proxy, of_gold;
    for (size_t q = 0; q < 3; ++q) {
      of_proxy.push_back(by_enumeration(proxy[q], proxy[q], n));
      of_gold.push_back(by_enumeration(proxy[q], gold[q], n));
    }
    const auto& at = static_cast<size_t>(n - 1);
    EXPECT_NEAR(best.proxy[at].value, mean_of(of_proxy).value, 1e-13) << n;
    EXPECT_NEAR(best.proxy[at].error, mean_of(of_proxy).error, 1e-13) << n;
    EXPECT_NEAR(best.gold[at].value, mean_of(of_gold).value, 1e-13) << n;
    EXPECT_NEAR(best.gold[at].error, mean_of(of_gold).error, 1e-13) << n;
    EXPECT_EQ(best.gold[at].count, 3);
  }
}

TEST(BestOfN, OfEvenlySpacedScoresIsTheOrderStatistic) {
  // The greatest of n different numbers out of 1 … S is n (S + 1)/(n + 1) on average.
  Values scores;
  for (int i = 1; i <= 500; ++i) scores.push_back((i * 7) % 501);
  const BestOfN best = best_of_n({scores});
  for (const int n : {1, 2, 17, 499, 500})
    EXPECT_NEAR(best.proxy[static_cast<size_t>(n - 1)].value, n * 501.0 / (n + 1), 1e-10);
  EXPECT_TRUE(best.gold.empty());
}

TEST(BestOfN, GoesAsFarAsTheFewestSamples) {
  const BestOfN best = best_of_n({{1, 2, 3}, {4, 6}});
  ASSERT_EQ(best.proxy.size(), 2U);
  EXPECT_DOUBLE_EQ(best.proxy[0].value, (2 + 5) / 2.0);
  EXPECT_DOUBLE_EQ(best.proxy[1].value, ((2 + 3 + 3) / 3.0 + 6) / 2);
}

TEST(BestOfN, HasTheKlOfItsPolicy) {
  EXPECT_EQ(best_of_n_kl(1), 0);
  EXPECT_DOUBLE_EQ(best_of_n_kl(4), std::log(4.0) - 0.75);
  EXPECT_EQ(best_of_n({{1, 2, 3, 4}}).kl[3], best_of_n_kl(4));
  // Of m answers alike probable, with different scores, the i-th is the best of n with probability
  // (i/m)ⁿ − ((i−1)/m)ⁿ: below the bound, and near it for many.
  for (const int m : {3, 100000}) {
    double kl = 0;
    for (int i = 1; i <= m; ++i) {
      const double p = std::pow(i / double(m), 4) - std::pow((i - 1) / double(m), 4);
      kl += p * std::log(p * m);
    }
    EXPECT_LT(kl, best_of_n_kl(4));
    EXPECT_NEAR(kl, best_of_n_kl(4), m == 3 ? 0.2 : 1e-4);
  }
}

TEST(BestOfN, RefusesScoresThatDoNotFit) {
  const auto error = [](const Matrix& proxy, const Matrix& gold = {}) {
    return error_of<ArgumentError>([&] { best_of_n(proxy, gold); });
  };
  EXPECT_EQ(error({}), "best_of_n: there are no prompts");
  EXPECT_EQ(error({{1}, {}}), "best_of_n: prompt 1 has no samples");
  EXPECT_EQ(error({{1, std::nan("")}}),
            "best_of_n: prompt 0 has the proxy score nan, expected finite numbers");
  EXPECT_EQ(error({{1}}, {{1}, {2}}),
            "best_of_n: gold scores of 2 prompts and proxy scores of 1, expected as many of each");
  EXPECT_EQ(error({{1, 2}}, {{1}}),
            "best_of_n: prompt 0 has 1 gold and 2 proxy scores, expected as many of each");
  EXPECT_EQ(error_of<ArgumentError>([] { best_of_n_kl(0); }),
            "best_of_n_kl: n is 0, expected 1 or more");
}

}  // namespace
}  // namespace luce
