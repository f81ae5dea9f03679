// SimPO (Meng et al., arXiv:2405.14734).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct SimpoOptions {
  double beta = 2;
  double gamma = 0.5;
  double label_smoothing = 0;
};
void describe(Schema& s, SimpoOptions& o);

class Simpo : public PolicyPairLoss<SimpoOptions> {
 public:
  using PolicyPairLoss::PolicyPairLoss;
  static LossInfo info();
  bool per_token() const override { return true; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
