// Binary classifier optimization on pairs, without its shift (Jung et al., arXiv:2404.04656).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct BcoPairOptions {
  double beta = 0.1;
};
void describe(Schema& s, BcoPairOptions& o);

class BcoPair : public ReferencePairLoss<BcoPairOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
