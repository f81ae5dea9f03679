#include "luce/base/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace luce {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Metrics, MeanIsTheSameForEverySplit) {
  Metrics whole, parts;
  whole.add("entropy", 12, 8);
  parts.add("entropy", 9, 3);
  parts.add("entropy", 3, 5);
  EXPECT_EQ(whole.mean("entropy"), 1.5);
  EXPECT_EQ(parts.mean("entropy"), 1.5);
  EXPECT_EQ(parts.sum("entropy"), 12);
  EXPECT_EQ(parts.count("entropy"), 8);
}

TEST(Metrics, NanIsLeftOutWithItsCount) {
  Metrics metrics;
  metrics.add("loss", 6, 2);
  metrics.add("loss", kNan, 100);
  metrics.add("reward", kNan, 1);
  EXPECT_EQ(metrics.mean("loss"), 3);
  EXPECT_EQ(metrics.count("loss"), 2);
  EXPECT_FALSE(metrics.has("reward"));
  EXPECT_TRUE(std::isnan(metrics.mean("reward")));
}

TEST(Metrics, AnInfiniteValueIsKept) {
  Metrics metrics;
  metrics.set("loss", std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isinf(metrics.mean("loss")));
}

TEST(Metrics, SetAveragesOverSteps) {
  Metrics metrics;
  metrics.set("learning_rate", 1e-3);
  metrics.set("learning_rate", 3e-3);
  EXPECT_DOUBLE_EQ(metrics.mean("learning_rate"), 2e-3);
}

TEST(Metrics, AnEntryWithoutCountHasNoMean) {
  Metrics metrics;
  metrics.add("rewards/chosen", 0, 0);
  EXPECT_FALSE(metrics.empty());
  EXPECT_FALSE(metrics.has("rewards/chosen"));
  EXPECT_TRUE(metrics.means().empty());
  EXPECT_EQ(metrics.sum("absent"), 0);
  EXPECT_EQ(metrics.count("absent"), 0);
}

TEST(Metrics, MergeAddsSumsUnderAPrefix) {
  Metrics all, part;
  part.add("loss", 4, 2);
  part.add("rewards/chosen", 1, 2);
  all.add("eval_loss", 8, 2);
  all.merge(part, "eval_");
  EXPECT_EQ(all.means(),
            (std::map<std::string, double>{{"eval_loss", 3}, {"eval_rewards/chosen", 0.5}}));
  all.merge(part);
  EXPECT_EQ(all.mean("loss"), 2);
  all.clear();
  EXPECT_TRUE(all.empty());
}

}  // namespace
}  // namespace luce
