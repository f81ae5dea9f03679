// Anchored preference optimization, down form (D'Oosterlinck et al., arXiv:2408.06266).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct ApoDownOptions {
  double beta = 0.1;
};
void describe(Schema& s, ApoDownOptions& o);

class ApoDown : public ReferencePairLoss<ApoDownOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
