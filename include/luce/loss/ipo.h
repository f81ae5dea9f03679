// Identity preference optimization (Azar et al., arXiv:2310.12036).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct IpoOptions {
  double beta = 0.1;
  std::string lengths = "mean";
};
void describe(Schema& s, IpoOptions& o);

class Ipo : public ReferencePairLoss<IpoOptions> {
 public:
  using ReferencePairLoss::ReferencePairLoss;
  static LossInfo info();
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
