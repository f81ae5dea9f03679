// The process model: is each step of this answer right?
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/reward.h"

namespace luce {

struct RewardProcessOptions {
  bool train_on_last_step_only = false;
};
void describe(Schema& s, RewardProcessOptions& o);

class RewardProcess : public WithOptions<RewardLoss, RewardProcessOptions> {
 public:
  using WithOptions::WithOptions;
  static RewardLossInfo info();
  ScoreKind kind() const override { return ScoreKind::process; }
  Rows rows() const override { return Rows::stepwise; }
  Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const override;
};

}  // namespace luce
