// Alignment via optimal transport on paired rows (Melnyk et al., arXiv:2406.05882).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct AotOptions {
  double beta = 0.1;
  double label_smoothing = 0;
};
void describe(Schema& s, AotOptions& o);

class Aot : public ReferencePairLoss<AotOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Needs needs() const override { return {.reference = true, .couples = Coupling::step}; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
