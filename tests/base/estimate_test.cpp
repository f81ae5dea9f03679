#include "luce/base/estimate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/temporary_folder.h"

namespace luce {
namespace {

TEST(Estimate, OfAMeanHasTheErrorOfTheSample) {
  const Estimate mean = mean_of({1, 2, 3, 6});
  EXPECT_DOUBLE_EQ(mean.value, 3);
  EXPECT_DOUBLE_EQ(mean.error, std::sqrt((4 + 1 + 0 + 9) / 3.0 / 4));
  EXPECT_EQ(mean.count, 4);
  EXPECT_DOUBLE_EQ(mean_of({5}).value, 5);
  EXPECT_TRUE(std::isnan(mean_of({5}).error));
  EXPECT_TRUE(std::isnan(mean_of({}).value));
  EXPECT_EQ(mean_of({}).count, 0);
}

TEST(Estimate, OfAShareHasTheErrorOfACoin) {
  const Estimate share = share_of(1, 4);
  EXPECT_DOUBLE_EQ(share.value, 0.25);
  EXPECT_DOUBLE_EQ(share.error, std::sqrt(0.25 * 0.75 / 4));
  EXPECT_EQ(share.count, 4);
  EXPECT_TRUE(std::isnan(share_of(0, 0).value));
}

TEST(WilsonInterval, EndsWhereTheShareIsZStandardErrorsAway) {
  for (const double share : {0.1, 0.5, 0.73})
    for (const double n : {3.0, 40.0, 1000.0})
      for (const double z : {1.0, kNormal95}) {
        const auto [low, high] = wilson_interval(share, n, z);
        EXPECT_NEAR(share - low, z * std::sqrt(low * (1 - low) / n), 1e-14);
        EXPECT_NEAR(high - share, z * std::sqrt(high * (1 - high) / n), 1e-14);
      }
  EXPECT_NEAR(wilson_interval(0, 10, 2).low, 0, 1e-16);
  EXPECT_NEAR(wilson_interval(0, 10, 2).high, 4 / 14.0, 1e-15);
  EXPECT_NEAR(wilson_interval(1, 10, 2).low, 10 / 14.0, 1e-15);
  EXPECT_EQ(wilson_interval(0.5, 0).low, 0);
  EXPECT_EQ(wilson_interval(0.5, 0).high, 1);
}

TEST(WilsonInterval, RefusesWhatIsNoShare) {
  const auto error = [](double share, double n) {
    return error_of<ArgumentError>([&] { wilson_interval(share, n); });
  };
  EXPECT_EQ(error(1.5, 4),
            "wilson_interval: expected a share within 0 … 1 of 0 trials or more, got 1.5 of 4");
  EXPECT_EQ(error(0.5, -1),
            "wilson_interval: expected a share within 0 … 1 of 0 trials or more, got 0.5 of -1");
}

TEST(BinomialP, IsTheShareOfAllThrowsThatAreAsUneven) {
  for (int n = 0; n <= 12; ++n)
    for (int k = 0; k <= n; ++k) {
      int as_uneven = 0;
      for (int throws = 0; throws < 1 << n; ++throws)
        as_uneven += std::abs(2 * __builtin_popcount(throws) - n) >= std::abs(2 * k - n);
      EXPECT_NEAR(binomial_p(k, n), std::ldexp(as_uneven, -n), 1e-14) << k << " of " << n;
    }
}

TEST(BinomialP, IsRightForManyThrows) {
  EXPECT_NEAR(binomial_p(1000, 1000) / std::ldexp(1, -999), 1, 1e-9);
  // The normal tail, with its correction for whole numbers.
  const double z = (500600 - 0.5 - 500000) / 500;
  EXPECT_NEAR(binomial_p(500600, 1000000) / std::erfc(z / std::sqrt(2.0)), 1, 1e-4);
  EXPECT_EQ(binomial_p(500600, 1000000), binomial_p(499400, 1000000));
}

TEST(BinomialP, RefusesMoreThanAll) {
  EXPECT_EQ(error_of<ArgumentError>([] { binomial_p(4, 3); }),
            "binomial_p: expected 0 ≤ k ≤ n, got 4 of 3");
  EXPECT_EQ(error_of<ArgumentError>([] { binomial_p(-1, 3); }),
            "binomial_p: expected 0 ≤ k ≤ n, got -1 of 3");
}

}  // namespace
}  // namespace luce
