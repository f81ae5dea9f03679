// Provably robust DPO (Chowdhury et al., arXiv:2403.00409).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct RobustOptions {
  double beta = 0.1;
  double label_smoothing = 0;
};
void describe(Schema& s, RobustOptions& o);

class Robust : public ReferencePairLoss<RobustOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
