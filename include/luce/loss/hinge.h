// The hinge on the margin of log-ratios (RSO, Liu et al., arXiv:2309.06657).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct HingeOptions {
  double beta = 0.1;
};
void describe(Schema& s, HingeOptions& o);

class Hinge : public ReferencePairLoss<HingeOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
