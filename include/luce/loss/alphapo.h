// AlphaPO: SimPO with another shape of the reward (Gupta et al., arXiv:2501.03884).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct AlphaPoOptions {
  double beta = 2;
  double gamma = 0.5;
  double alpha = 0.25;
  double label_smoothing = 0;
};
void describe(Schema& s, AlphaPoOptions& o);

class AlphaPo : public PolicyPairLoss<AlphaPoOptions> {
 public:
  using PolicyPairLoss::PolicyPairLoss;
  static LossInfo info();
  Tensor rewards(const GroupInputs& inputs) const override;
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
