// Means and shares with what their sample leaves open.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace luce {

/// A mean of `count` values and its standard error. NaN where nothing was measured; the error is
/// NaN too where one value alone tells nothing of the spread.
struct Estimate {
  double value = std::numeric_limits<double>::quiet_NaN();
  double error = std::numeric_limits<double>::quiet_NaN();
  int64_t count = 0;
};

struct Interval {
  double low = 0, high = 1;
};

/// Half the width of an interval of 95 % in standard errors.
constexpr double kNormal95 = 1.959963984540054;

/// x̄ and √(Σ (x − x̄)² / (n (n − 1))).
Estimate mean_of(const std::vector<double>& values);

/// k of n: k/n with the error √(s (1 − s) / n).
Estimate share_of(int64_t k, int64_t n);

/// Wilson's score interval of a share of `n` trials, at `z` standard errors; [0, 1] where n is 0.
/// Throws ArgumentError where the share is outside [0, 1] or n is negative.
Interval wilson_interval(double share, double n, double z = kNormal95);

/// The probability that a fair coin, thrown n times, is at least as far from n/2 as k is: the exact
/// two-sided binomial test. 1 where n is 0. Throws ArgumentError unless 0 ≤ k ≤ n.
double binomial_p(int64_t k, int64_t n);

}  // namespace luce
