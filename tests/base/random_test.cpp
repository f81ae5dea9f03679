#include "luce/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

namespace luce {
namespace {

using Block = std::array<uint32_t, 4>;

TEST(Random, PhiloxGivesTheKnownAnswers) {
  // The vectors that its authors publish for philox4x32 with 10 rounds (github.com/DEShawResearch/
  // random123, tests/kat_vectors).
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, EveryArgumentChangesTheBits) {
  const uint64_t high = uint64_t{1} << 32;
  std::set<uint64_t> seen;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, high})
    for (const Purpose purpose : {Purpose::shuffle, Purpose::init, Purpose::sample,
                                  Purpose::dropout, Purpose::demo, Purpose::test})
      for (const uint64_t step : {uint64_t{0}, uint64_t{7}, high * 8})
        for (const uint64_t sample : {uint64_t{0}, uint64_t{1}, high})
          for (const uint32_t position : {0U, 1U, 0x80000000U})
            seen.insert(Random(seed, purpose).bits(step, sample, position));
  EXPECT_EQ(seen.size(), 3U * 6 * 3 * 3 * 3);
}

TEST(Random, ValuesDependOnTheAddressAlone) {
  const Random a(5, Purpose::test), b(5, Purpose::test);
  const uint64_t wanted = a.bits(3, 2, 1);
  for (uint64_t i = 0; i < 100; ++i) b.bits(i, i, 0);
  EXPECT_EQ(b.bits(3, 2, 1), wanted);
  // Fixed for good: the numbers of saved runs hang on them.
  EXPECT_EQ(wanted, 0xfeccf33f0b8530a4);
  EXPECT_EQ(Random(42, Purpose::shuffle).permutation(0, 8),
            (std::vector<int64_t>{1, 2, 7, 3, 6, 0, 5, 4}));
}

TEST(Random, UniformNumbersAreUniform) {
  const Random random(1, Purpose::test);
  const int n = 200000, bins = 16;
  double sum = 0, squares = 0, least = 1, most = 0;
  std::array<double, bins> count{};
  for (int i = 0; i < n; ++i) {
    const double u =
        random.uniform(static_cast<uint64_t>(i / 1000), static_cast<uint64_t>(i % 1000), 3);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    squares += u * u;
    least = std::min(least, u);
    most = std::max(most, u);
    ++count[static_cast<size_t>(u * bins)];
  }
  const double mean = sum / n, variance = squares / n - mean * mean;
  EXPECT_NEAR(mean, 0.5, 4 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(variance, 1.0 / 12, 4 * std::sqrt(1.0 / 180 / n));
  EXPECT_LT(least, 1e-4);
  EXPECT_GT(most, 1 - 1e-4);
  double chi2 = 0;
  for (const double c : count) chi2 += (c - n / bins) * (c - n / bins) / (n / bins);
  EXPECT_LT(chi2, 37.7) << "the 0.999 quantile for 15 degrees of freedom";
}

TEST(Random, UniformUsesTheTop53Bits) {
  const Random random(9, Purpose::test);
  for (uint64_t i = 0; i < 20; ++i)
    EXPECT_EQ(random.uniform(i, 0, 0),
              std::ldexp(static_cast<double>(random.bits(i, 0, 0) >> 11), -53));
}

TEST(Random, NormalNumbersHaveTheirMoments) {
  const Random random(2, Purpose::test);
  const int n = 200000;
  std::array<double, 5> moment{};
  for (int i = 0; i < n; ++i) {
    const double z = random.normal(0, static_cast<uint64_t>(i), 0);
    ASSERT_TRUE(std::isfinite(z));
    double power = 1;
    for (auto& m : moment) {
      m += power / n;
      power *= z;
    }
  }
  // Four standard errors each; the moments of a standard normal are 0, 1, 0, 3.
  EXPECT_NEAR(moment[1], 0, 4 * std::sqrt(1.0 / n));
  EXPECT_NEAR(moment[2], 1, 4 * std::sqrt(2.0 / n));
  EXPECT_NEAR(moment[3], 0, 4 * std::sqrt(15.0 / n));
  EXPECT_NEAR(moment[4], 3, 4 * std::sqrt(96.0 / n));
}

TEST(Random, NeighbouringStreamsAreUncorrelated) {
  const Random random(3, Purpose::test), other(4, Purpose::test), init(3, Purpose::init);
  const int n = 50000;
  std::array<double, 5> product{};
  for (int i = 0; i < n; ++i) {
    const auto at = static_cast<uint64_t>(i);
    const double z = random.normal(1, at, 1);
    product[0] += z * random.normal(1, at + 1, 1);
    product[1] += z * random.normal(2, at, 1);
    product[2] += z * random.normal(1, at, 2);
    product[3] += z * other.normal(1, at, 1);
    product[4] += z * init.normal(1, at, 1);
  }
  for (const double p : product) EXPECT_NEAR(p / n, 0, 4 / std::sqrt(n));
}

TEST(Random, APermutationHoldsEachNumberOnceAndDiffersByEpochAndSeed) {
  const Random random(42, Purpose::shuffle);
  for (const int64_t n : {0, 1, 2, 3, 100, 1000}) {
    auto order = random.permutation(0, n);
    ASSERT_EQ(order.size(), static_cast<size_t>(n));
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
  }
  std::vector<int64_t> sorted(100);
  std::iota(sorted.begin(), sorted.end(), 0);
  const auto first = random.permutation(0, 100);
  EXPECT_EQ(random.permutation(0, 100), first);
  EXPECT_NE(first, sorted);
  EXPECT_NE(random.permutation(1, 100), first);
  EXPECT_NE(random.permutation(std::numeric_limits<uint64_t>::max(), 100), first);
  EXPECT_NE(Random(43, Purpose::shuffle).permutation(0, 100), first);
}

TEST(Random, EveryPlaceOfAPermutationIsEquallyLikely) {
  const Random random(0, Purpose::shuffle);
  const int epochs = 60000;
  std::array<std::array<int, 3>, 3> count{};  // number, place
  for (uint64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto order = random.permutation(epoch, 3);
    for (size_t place = 0; place < 3; ++place) ++count[static_cast<size_t>(order[place])][place];
  }
  for (const auto& places : count)
    for (const int c : places) EXPECT_NEAR(c, epochs / 3.0, 4 * std::sqrt(epochs * 2.0 / 9));
}

}  // namespace
}  // namespace luce
