// Odds ratio preference optimization (Hong et al., arXiv:2403.07691).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct OrpoOptions {
  double beta = 0.1;
};
void describe(Schema& s, OrpoOptions& o);

class Orpo : public PolicyPairLoss<OrpoOptions> {
 public:
  using PolicyPairLoss::PolicyPairLoss;
  static LossInfo info();
  bool per_token() const override { return true; }
  double nll_weight() const override { return 1; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
