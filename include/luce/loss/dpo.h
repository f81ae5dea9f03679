// Direct Preference Optimization (Rafailov et al., arXiv:2305.18290).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct DpoOptions {
  double beta = 0.1;
  double label_smoothing = 0;
};

void describe(Schema& s, DpoOptions& o);

class Dpo : public ReferencePairLoss<DpoOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
