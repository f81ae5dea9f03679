// APO-zero on answers that are no pairs (D'Oosterlinck et al., arXiv:2408.06266).
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/unpaired.h"

namespace luce {

struct ApoZeroUnpairedOptions {
  double beta = 0.1;
  double desirable_weight = 1;
  double undesirable_weight = 1;
};
void describe(Schema& s, ApoZeroUnpairedOptions& o);

class ApoZeroUnpaired : public WithOptions<UnpairedLoss, ApoZeroUnpairedOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override { return {.reference = true, .couples = Coupling::sequence}; }
  double reward_scale() const override { return options_.beta; }
  Tensor values(const UnpairedInputs& answers, Metrics& metrics) const override;
};

}  // namespace luce
