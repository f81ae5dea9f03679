// What holds by a wide margin on every seed that was tried, and what holds exactly.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "experiment/displacement_runs.h"
#include "experiment/experiments.h"

namespace luce {
namespace {

const Findings& findings() {
  static const Findings found = displacement().run({.quick = true});
  return found;
}

double mean(const std::string& name) { return findings().figures["mean"][name].get<double>(); }

TEST(DisplacementExperiment, ChesRanksWhatDpoDoesToTheChosenAnswer) {
  EXPECT_LT(mean("alone/rank_correlation"), -0.15);
  EXPECT_LT(mean("dpo/rank_correlation"), -0.05);
  EXPECT_GT(mean("alone/chosen_third_0"), mean("alone/chosen_third_2") + 0.1);
  EXPECT_GT(mean("dpo/chosen_third_0"), mean("dpo/chosen_third_2") + 0.2);
  EXPECT_LT(mean("dpo/both_fell_third_0"), mean("dpo/both_fell_third_2"));
}

TEST(DisplacementExperiment, OnlyALikelihoodTermRaisesChosenAnswers) {
  for (const std::string loss : {"cpo", "dpo + sft"}) {
    EXPECT_GT(mean(loss + "/chosen"), mean("dpo/chosen") + 1) << loss;
    EXPECT_GT(mean(loss + "/chosen"), 0.5) << loss;
    EXPECT_LT(mean(loss + "/both_fell"), 0.2) << loss;
  }
  for (const std::string loss : {"dpo", "ipo", "simpo", "apo_zero"})
    EXPECT_GT(mean(loss + "/both_fell"), 0.3) << loss;
  EXPECT_LT(mean("apo_down/chosen"), mean("dpo/chosen") - 3);
}

TEST(DisplacementExperiment, OtherPromptsFallWithWhatIsTrained) {
  for (const std::string third : {"third_0", "third_1", "third_2"})
    EXPECT_LT(mean(third + "/others"), mean(third + "/own") - 0.5) << third;
}

TEST(DisplacementExperiment, MassIsCountedWhole) {
  for (const std::string third : {"mass_0/", "mass_2/"})
    for (const std::string when : {"_before", "_after"}) {
      double sum = 0;
      for (const std::string kind :
           {"chosen", "rejected", "chosen_synonyms", "rejected_synonyms", "others", "no_answer"}) {
        const double mass = mean(third + kind + when);
        EXPECT_GE(mass, -1e-12) << third << kind << when;
        sum += mass;
      }
      EXPECT_NEAR(sum, 1, 1e-12);
      EXPECT_LT(mean(third + "no_answer" + when), 0.1);
    }
  EXPECT_LT(mean("mass_2/rejected_after"), mean("mass_2/rejected_before"));
  EXPECT_GT(mean("mass_2/others_after"), mean("mass_2/others_before"));
  EXPECT_NEAR(mean("top/target") + mean("top/synonym") + mean("top/other"), 1, 1e-12);
}

TEST(DisplacementExperiment, CoursesEndWhereTheTableStands) {
  const auto& series = findings().charts.front().series;
  const Json& world = findings().figures["worlds"];
  for (size_t third = 0; third < 3; ++third) {
    const std::string name = "dpo/chosen_third_" + std::to_string(third);
    EXPECT_EQ(series[third].y.front(), 0);
    EXPECT_NEAR(series[third].y.back(), world[name][0].get<double>(), 1e-9) << name;
  }
}

// Ranks (2, 0, 1, 3) and (3, 0, 2, 1): 1 − 6 Σ d² / (n (n² − 1)) = 1 − 6 · 6 / 60.
TEST(RankCorrelation, IsSpearmansFormula) {
  EXPECT_NEAR(rank_correlation({5, -1, 0, 70}, {9, 1, 3, 2}), 0.4, 1e-15);
  EXPECT_NEAR(rank_correlation({1, 2, 3}, {30, 20, 10}), -1, 1e-15);
}

TEST(SynonymLanguage, PairsAreOfTheirKind) {
  using Language = SynonymLanguage;
  const auto pairs = Language(3).pairs();
  ASSERT_EQ(pairs.size(), 64u);
  for (size_t p = 0; p < pairs.size(); ++p) {
    const auto &chosen = pairs[p].completions[0], &rejected = pairs[p].completions[1];
    EXPECT_NE(chosen, rejected);
    std::vector<bool> same_class, same;
    for (size_t t = 0; t < 3; ++t) {
      same_class.push_back(Language::class_of(chosen[t]) == Language::class_of(rejected[t]));
      same.push_back(chosen[t] == rejected[t]);
    }
    const auto kind = p % 4;
    EXPECT_TRUE(kind != 0 || same == (std::vector<bool>{false, true, true})) << p;
    EXPECT_TRUE(kind > 1 || same_class == (std::vector<bool>{true, true, true})) << p;
    EXPECT_TRUE(kind != 3 || (!same_class[0] && !same_class[1])) << p;
  }
}

}  // namespace
}  // namespace luce
