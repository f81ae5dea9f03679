// Regression: the reward model of graded answers.
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/reward.h"

namespace luce {

struct RewardRegressionOptions {};
void describe(Schema& s, RewardRegressionOptions& o);

class RewardRegression : public WithOptions<RewardLoss, RewardRegressionOptions> {
 public:
  using WithOptions::WithOptions;
  static RewardLossInfo info();
  Rows rows() const override { return Rows::scored; }
  bool predicts_scores() const override { return true; }
  Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const override;
};

}  // namespace luce
