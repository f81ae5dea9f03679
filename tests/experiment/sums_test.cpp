// A policy that knew the format alone learns sums from a verifier.
#include <gtest/gtest.h>

#include "experiment/experiments.h"

namespace luce {
namespace {

TEST(Sums, AreLearntFromRewardsAlone) {
  const Json run = sums().run({.quick = true}).figures["runs"].at(0);
  EXPECT_LE(run["before"].get<double>(), 0.15);
  EXPECT_GT(run["after"].get<double>(), 0.8);
  const auto accuracy = run["accuracy"].get<std::vector<double>>();
  EXPECT_EQ(accuracy.front(), run["before"].get<double>());
  EXPECT_EQ(accuracy.back(), run["after"].get<double>());
}

}  // namespace
}  // namespace luce
