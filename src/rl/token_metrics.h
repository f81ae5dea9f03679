// Sums and counts of what is measured at tokens, brought to the host at once.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "luce/rl/algorithm.h"

namespace luce {

class TokenMetrics {
 public:
  /// Tokens of weight 0 are left out. Where ratios are not of tokens, all tokens of a completion
  /// have the same, and each completion counts once.
  TokenMetrics(const PolicyInputs& inputs, const std::string& level);

  /// A mean of x [m], over tokens or, where ratios are of completions, over these.
  void add(const std::string& name, const Tensor& x);
  void add_each_token(const std::string& name, const Tensor& x);
  void add_each_completion(const std::string& name, const Tensor& x);

  /// clip_ratio/*: the shares of ratios below `low` with A < 0 and above `high` with A > 0; and the
  /// least and the largest share of a completion. These two are means over the calls of a step, as
  /// an extreme cannot be added up.
  void add_clipped(const Tensor& ratio, double low, double high, Metrics& metrics);

  void log(Metrics& metrics) const;

 private:
  void add_masked(const std::string& name, const Tensor& x, const Tensor& mask);
  Tensor share_of_completions(const Tensor& x) const;

  const PolicyInputs& inputs_;
  Tensor trained_, first_, unit_;  // [m] f64, 0 or 1
  std::vector<std::string> names_;
  std::vector<Tensor> sums_;
};

}  // namespace luce
