// A reward model of raters that do not agree: one head for each kind of rater.
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/reward.h"

namespace luce {

struct RewardMixtureOptions {
  double prior = 1;
};
void describe(Schema& s, RewardMixtureOptions& o);

class RewardMixture : public WithOptions<RewardLoss, RewardMixtureOptions> {
 public:
  using WithOptions::WithOptions;
  static RewardLossInfo info();
  Rows rows() const override { return Rows::pairs; }
  Coupling couples() const override { return Coupling::step; }
  bool subsamples() const override { return false; }  // which head learns what is its own to find
  int64_t least_heads() const override { return 2; }
  Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const override;
  void check_rows(const std::vector<Example>& train) const override;
  void observe(const ScoreInputs& step) override;
  Json state() const override;
  void load_state(const Json& state) override;

 private:
  /// Responsibilities of the heads for the pairs, [P, K].
  Tensor gamma(const ScoreInputs& x) const;

  std::vector<double> alpha_;  // shares of the heads; empty until the first step
};

}  // namespace luce
