// Anchored preference optimization, zero form (D'Oosterlinck et al., arXiv:2408.06266).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct ApoZeroOptions {
  double beta = 0.1;
};
void describe(Schema& s, ApoZeroOptions& o);

class ApoZero : public ReferencePairLoss<ApoZeroOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
