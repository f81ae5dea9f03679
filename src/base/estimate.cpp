#include "luce/base/estimate.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"

namespace luce {

Estimate mean_of(const std::vector<double>& values) {
  Estimate estimate{.count = static_cast<int64_t>(values.size())};
  if (values.empty()) return estimate;
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double x : values) sum += x;
  estimate.value = sum / n;
  for (const double x : values) squares += (x - estimate.value) * (x - estimate.value);
  if (values.size() > 1) estimate.error = std::sqrt(squares / (n * (n - 1)));
  return estimate;
}

Estimate share_of(int64_t k, int64_t n) {
  if (n == 0) return {};
  const double s = static_cast<double>(k) / static_cast<double>(n);
  return {s, std::sqrt(s * (1 - s) / static_cast<double>(n)), n};
}

/// Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927):
/// all s for which |share − s| ≤ z √(s (1 − s) / n),
///
///   (share + z²/2n ± z √(share (1 − share) / n + z²/4n²)) / (1 + z²/n)
Interval wilson_interval(double share, double n, double z) {
  if (!(share >= 0 && share <= 1) || !(n >= 0))
    throw ArgumentError(cat("wilson_interval: expected a share within 0 … 1 of 0 trials or more, ",
                            "got ", share, " of ", n));
  if (n == 0) return {};
  const double scale = 1 + z * z / n, middle = share + z * z / (2 * n);
  const double half = z * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return {std::max(0.0, (middle - half) / scale), std::min(1.0, (middle + half) / scale)};
}

/// min(1, 2 Σ_{i ≥ max(k, n−k)} C(n, i) / 2ⁿ). The first term is found by logarithms, each further
/// one by C(n, i+1) = C(n, i) (n − i) / (i + 1); beyond the middle they only fall.
double binomial_p(int64_t k, int64_t n) {
  if (k < 0 || k > n)
    throw ArgumentError(cat("binomial_p: expected 0 ≤ k ≤ n, got ", k, " of ", n));
  const int64_t most = std::max(k, n - k);
  if (2 * most == n) return 1;
  const auto log_factorial = [](int64_t m) { return std::lgamma(static_cast<double>(m) + 1); };
  double term = std::exp(log_factorial(n) - log_factorial(most) - log_factorial(n - most) -
                         static_cast<double>(n) * std::log(2.0));
  double sum = 0;
  for (int64_t i = most; i <= n && term > sum * 1e-17; ++i) {
    sum += term;
    term *= static_cast<double>(n - i) / static_cast<double>(i + 1);
  }
  return std::min(1.0, 2 * sum);
}

}  // namespace luce
