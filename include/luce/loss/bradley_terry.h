// Bradley-Terry: the reward model of pairs.
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/reward.h"

namespace luce {

struct BradleyTerryOptions {
  double label_smoothing = 0;
  double center_rewards_coefficient = 0;
};
void describe(Schema& s, BradleyTerryOptions& o);

class BradleyTerry : public WithOptions<RewardLoss, BradleyTerryOptions> {
 public:
  using WithOptions::WithOptions;
  static RewardLossInfo info();
  Rows rows() const override { return Rows::pairs; }
  Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const override;
};

}  // namespace luce
