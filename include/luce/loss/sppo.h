// Self-play preference optimization, hard form (Wu et al., arXiv:2405.00675).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct SppoOptions {
  double beta = 0.1;
};
void describe(Schema& s, SppoOptions& o);

class Sppo : public ReferencePairLoss<SppoOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
