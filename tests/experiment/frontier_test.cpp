// The frontier: what its world promises, and that every method moves along it.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "experiment/experiments.h"
#include "experiment/frontier_world.h"
#include "experiment/online_runs.h"
#include "experiment/tensor_memory.h"

namespace luce {
namespace {

TEST(Frontier, EveryOnlineMethodBeatsItsStart) {
  const Json figures = frontier().run({.quick = true}).figures;
  EXPECT_EQ(figures["cells"].size(), 6U);
  for (const Json& cell : figures["cells"]) {
    SCOPED_TRACE(cell["method"].dump());
    EXPECT_LE(cell["kl"].get<double>(), 15);
    EXPECT_GT(cell["kl"].get<double>(), 0);
    EXPECT_GT(cell["peak_mib"].get<double>(), 0);
    const bool is_online = cell["method"] != "DPO" && cell["method"] != "IPO";
    EXPECT_GE(cell["gain_in_errors"].get<double>(), is_online ? 5 : 0);
  }
}

TEST(Frontier, TheRewardIsASumOfWorths) {
  const FrontierWorld world(1);
  const std::vector<int64_t> prompt = world.prompts[0].ids;
  const double one = world.reward(prompt, {3}), other = world.reward(prompt, {5, 24 + 1});
  EXPECT_NEAR(world.reward(prompt, {3, 5, 25}), one + other, 1e-12);
  EXPECT_NE(one, 0);
}

TEST(Frontier, PairsPutTheBetterAnswerFirst) {
  const FrontierWorld world(2);
  const auto policy = small_llama(FrontierWorld::kVocabulary, 16, FrontierWorld::kEnd, 1);
  const auto pairs = world.pairs(policy, 40, 3);
  EXPECT_GT(pairs.size(), 30U);
  for (const auto& row : pairs)
    EXPECT_GT(world.reward(row.prompt, row.completions[0]),
              world.reward(row.prompt, row.completions[1]));
}

TEST(Frontier, APolicyIsAtNoDistanceFromItself) {
  const FrontierWorld world(2);
  const auto policy = small_llama(FrontierWorld::kVocabulary, 16, FrontierWorld::kEnd, 1);
  const FrontierPoint point = measure(world, policy, policy, 64, 5);
  EXPECT_NEAR(point.kl, 0, 1e-6);
  EXPECT_GT(point.reward_error, 0);
}

TEST(TensorMemory, CountsTheMostThatWasHeldAtOnce) {
  const TensorMemory memory;
  { const auto a = at::empty({1 << 18}, at::kFloat), b = at::empty({1 << 18}, at::kFloat); }
  const auto c = at::empty({1 << 18}, at::kFloat);
  EXPECT_EQ(memory.peak(), int64_t{2} << 20);
}

}  // namespace
}  // namespace luce
