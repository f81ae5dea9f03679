// Noise contrastive alignment (Chen et al., arXiv:2402.05369).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct NcaOptions {
  double beta = 0.1;
};
void describe(Schema& s, NcaOptions& o);

class Nca : public ReferencePairLoss<NcaOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
