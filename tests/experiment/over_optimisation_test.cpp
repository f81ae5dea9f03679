// Optimality and laws that hold exactly, beside what holds by a wide margin.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "experiment/experiments.h"
#include "experiment/optimisation_study.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

const Json& figures() {
  static const Json f = over_optimisation().run({.quick = true}).figures;
  return f["gold_values_the_reference"];
}
Json rule(const std::string& name) { return figures()["rules"][name]; }
double peak(const std::string& name) { return rule(name)["peak"]["gold"].get<double>(); }
double last(const std::string& name, const char* what) {
  return rule(name)[what].back().get<double>();
}

TEST(OverOptimisation, GoldTurnsWhileTheProxyPromisesMore) {
  for (const std::string name : {"one member", "mean", "min"}) {
    EXPECT_LT(last(name, "gold"), peak(name) - 0.2) << name;
    const auto proxy = rule(name)["proxy"].get<std::vector<double>>();
    for (size_t i = 1; i < proxy.size(); ++i) EXPECT_GT(proxy[i], proxy[i - 1]) << name << i;
    EXPECT_GT(proxy.back(), last(name, "gold") + 0.5) << name;
  }
}

TEST(OverOptimisation, EnsemblesHelpAndTooMuchCautionCosts) {
  for (const std::string name : {"mean", "min", "mean − 4 std", "mean − 4 var"})
    EXPECT_GT(rule(name)["gain"]["value"].get<double>(), 0) << name;
  EXPECT_LT(peak("mean − 100 std"), peak("mean − 4 std") - 0.2);
}

// Of all policies at one KL π* ∝ π_ref e^{g/β} has the largest mean of g.
TEST(OverOptimisation, NothingBeatsTheGoldRewardItself) {
  const Json ceiling = rule("the gold reward itself")["gold"];
  for (const auto& [name, course] : figures()["rules"].items())
    for (size_t i = 0; i < ceiling.size(); ++i)
      EXPECT_LE(course["gold"][i].get<double>(), ceiling[i].get<double>() + 1e-8) << name << i;
  EXPECT_EQ(rule("mean")["gold"], rule("mean − 0 std")["gold"]);
}

TEST(OverOptimisation, PoliciesLieWhereTheyWereAskedFor) {
  const auto kls = figures()["kl"].get<std::vector<double>>();
  for (const std::string name : {"one member", "mean"})
    for (size_t i = 0; kls[i] <= 3; ++i)
      EXPECT_NEAR(rule(name)["reached_kl"][i].get<double>(), kls[i], 1e-8) << name << i;
  const auto n = figures()["n"].get<std::vector<double>>();
  for (size_t i = 0; i < n.size(); ++i)
    EXPECT_LE(rule("mean")["best_of_n"]["kl"][i].get<double>(),
              std::log(n[i]) - (n[i] - 1) / n[i] + 1e-9);
}

// Three answers with π_ref = (1/2, 1/4, 1/4) and scores 3, 1, 2; the best of two draws:
//   P(worst) = (1/4)², P(middle) = (1/2)² − (1/4)², P(best) = 1 − (1/2)²
TEST(OverOptimisation, BestOfTwoByHand) {
  GoldWorld world({.pairs = 1}, 1);
  world.log_ref = oracle::numbers({0.5, 0.25, 0.25}).log();
  world.gold = oracle::numbers({10, 100, 1000});
  const PolicyWorth two = best_of_n(world, oracle::numbers({3, 1, 2}), 2);
  EXPECT_NEAR(two.gold, 0.75 * 10 + 0.0625 * 100 + 0.1875 * 1000, 1e-9);
  EXPECT_NEAR(two.kl, 0.75 * std::log(1.5) + 0.0625 * std::log(0.25) + 0.1875 * std::log(0.75),
              1e-12);
  EXPECT_NEAR(two.proxy, (0.75 * 3 + 0.0625 + 0.1875 * 2) - (1.5 + 0.25 + 0.5), 1e-12);
}

// Of two equally likely answers with scores 1 and 0 the optimum has σ(1/β) for the first.
TEST(OverOptimisation, TheOptimumAtAKlByHand) {
  GoldWorld world({.pairs = 1}, 1);
  world.log_ref = oracle::numbers({0.5, 0.5}).log();
  world.gold = oracle::numbers({1, 0});
  const double p = 0.9, kl = p * std::log(2 * p) + (1 - p) * std::log(2 * (1 - p));
  EXPECT_NEAR(optimum_at_kl(world, oracle::numbers({1, 0}), kl).gold, p, 1e-9);
  EXPECT_NEAR(optimum_at_kl(world, oracle::numbers({1, 0}), 5).gold, 1, 1e-9);
}

TEST(GoldWorld, IsStandardised) {
  const GoldWorld world({}, 7);
  EXPECT_NEAR(world.log_ref.exp().sum().item<double>(), 1, 1e-12);
  EXPECT_NEAR(oracle::expectation(world.log_ref, world.gold).item<double>(), 0, 1e-12);
  EXPECT_NEAR(oracle::expectation(world.log_ref, world.gold.square()).item<double>(), 1, 1e-12);
  EXPECT_EQ(world.chosen.numel(), 150);
  EXPECT_FALSE(world.chosen.eq(world.rejected).any().item<bool>());
}

}  // namespace
}  // namespace luce
