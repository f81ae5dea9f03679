// Alignment via optimal transport on unpaired answers (Melnyk et al., arXiv:2406.05882).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct AotUnpairedOptions {
  double beta = 0.1;
  double label_smoothing = 0;
};
void describe(Schema& s, AotUnpairedOptions& o);

class AotUnpaired : public ReferencePairLoss<AotUnpairedOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Needs needs() const override { return {.reference = true, .couples = Coupling::step}; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
