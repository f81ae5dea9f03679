// DiscoPOP, the log-ratio modulated loss (Lu et al., arXiv:2406.08414).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct DiscopopOptions {
  double beta = 0.1;
  double tau = 0.05;
};
void describe(Schema& s, DiscopopOptions& o);

class Discopop : public ReferencePairLoss<DiscopopOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
