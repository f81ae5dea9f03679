// The outcome model: is this answer going to be right?
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/reward.h"

namespace luce {

struct RewardOutcomeOptions {};
void describe(Schema& s, RewardOutcomeOptions& o);

class RewardOutcome : public WithOptions<RewardLoss, RewardOutcomeOptions> {
 public:
  using WithOptions::WithOptions;
  static RewardLossInfo info();
  ScoreKind kind() const override { return ScoreKind::outcome; }
  Rows rows() const override { return Rows::labelled; }
  Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const override;
};

}  // namespace luce
