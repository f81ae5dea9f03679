// Efficient exact optimization (Ji et al., arXiv:2402.00856).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct ExoOptions {
  double beta = 0.1;
  double label_smoothing = 1e-3;
};
void describe(Schema& s, ExoOptions& o);

class Exo : public ReferencePairLoss<ExoOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
