// What holds by a wide margin on every seed that was tried, and what holds exactly.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "experiment/experiments.h"
#include "experiment/trail_language.h"

namespace luce {
namespace {

double figure(const char* name, const char* what) {
  static const Json figures = exposure_bias().run({.quick = true}).figures;
  return figures[name][what].get<double>();
}

TEST(ExposureBias, TheLanguageNeverRepeatsItsNeighbours) {
  EXPECT_EQ(figure("truth", "rep_2"), 0);
  EXPECT_EQ(figure("truth", "rep_4"), 0);
  EXPECT_EQ(figure("truth", "fresh"), 1);
}

TEST(ExposureBias, GreedyDecodingRepeatsAndSamplingDoesNot) {
  EXPECT_GT(figure("start", "rep_2"), 0.3);
  EXPECT_LT(figure("start", "sampled_rep_2"), 0.2);
  EXPECT_GT(figure("start", "known"), 0.95);
  EXPECT_LT(figure("start", "fresh"), 0.75);
}

TEST(ExposureBias, TokenUnlikelihoodRepeatsLeast) {
  const char* const token = "unlikelihood, token";
  EXPECT_LT(figure(token, "rep_2"), figure("maximum likelihood, further", "rep_2") - 0.05);
  EXPECT_LT(figure(token, "rep_2"), figure("start", "rep_2") - 0.15);
  EXPECT_GT(figure(token, "distinct_4"), 1.2 * figure("start", "distinct_4"));
  EXPECT_LT(figure(token, "perplexity"),
            1.05 * figure("maximum likelihood, further", "perplexity"));
}

TEST(ExposureBias, DpoPaysInPerplexityUnlessLikelihoodStandsBesideIt) {
  EXPECT_GT(figure("dpo", "perplexity"), 1.3 * figure("start", "perplexity"));
  EXPECT_LT(figure("dpo + sft", "perplexity"), figure("start", "perplexity"));
  EXPECT_GT(figure("dpo", "rep_2"), figure("unlikelihood, token", "rep_2") + 0.1);
}

TEST(ExposureBias, NoModelBeatsTheLanguage) {
  for (const char* const name :
       {"start", "maximum likelihood, further", "unlikelihood, token", "dpo", "dpo + sft"})
    EXPECT_GT(figure(name, "perplexity"), figure("truth", "perplexity")) << name;
}

// A step has the chances of the edges not used so far, 0.7^e over their sum.
TEST(TrailLanguage, ChancesAreThoseOfUnusedEdges) {
  const TrailLanguage language(8, 2, 5);
  const Random random(5, Purpose::test);
  for (uint64_t i = 0; i < 20; ++i) {
    const auto text = language.sample(random, i, 12);
    ASSERT_EQ(text.size(), 12u);
    std::set<std::pair<int64_t, int64_t>> used;
    double expected = 0;
    for (size_t t = 1; t < text.size(); ++t) {
      EXPECT_TRUE(used.insert({text[t - 1], text[t]}).second) << "an edge used twice";
      const double step =
          language.log_probability({text.begin(), text.begin() + std::ptrdiff_t(t) + 1}, t);
      int64_t before = 0;
      for (size_t s = 1; s < t; ++s) before += text[s - 1] == text[t - 1] ? 1 : 0;
      if (before == 0)
        EXPECT_TRUE(std::abs(std::exp(step) - 1 / 1.7) < 1e-12 ||
                    std::abs(std::exp(step) - 0.7 / 1.7) < 1e-12);
      else
        EXPECT_EQ(step, 0);  // one of two edges is left
      expected += step;
    }
    EXPECT_NEAR(language.log_probability(text, 1), expected, 1e-12);
    EXPECT_EQ(language.steps(text, 1).fresh, 1);
    auto again = text;
    again.push_back(again.back());  // no edge leads to the token itself
    EXPECT_EQ(language.log_probability(again, 1), -INFINITY);
    EXPECT_NEAR(language.steps(again, 1).known, 11.0 / 12, 1e-15);
  }
}

}  // namespace
}  // namespace luce
