// Plackett-Luce: the reward model of ranked answers.
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/reward.h"

namespace luce {

struct RewardPlackettLuceOptions {
  std::string form = "ranking";
};
void describe(Schema& s, RewardPlackettLuceOptions& o);

class RewardPlackettLuce : public WithOptions<RewardLoss, RewardPlackettLuceOptions> {
 public:
  using WithOptions::WithOptions;
  static RewardLossInfo info();
  Rows rows() const override { return Rows::ranked; }
  Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const override;
};

}  // namespace luce
