// DPO on log-ratios per token.
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct SigmoidNormOptions {
  double beta = 0.1;
};
void describe(Schema& s, SigmoidNormOptions& o);

class SigmoidNorm : public ReferencePairLoss<SigmoidNormOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
