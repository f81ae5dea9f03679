// Contrastive preference optimization (Xu et al., arXiv:2401.08417).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct CpoOptions {
  double beta = 0.1;
  double label_smoothing = 0;
  double cpo_alpha = 1;
  std::string form = "sigmoid";
};
void describe(Schema& s, CpoOptions& o);

class Cpo : public PolicyPairLoss<CpoOptions> {
 public:
  using PolicyPairLoss::PolicyPairLoss;
  static LossInfo info();
  double nll_weight() const override { return options_.cpo_alpha; }
  bool per_token() const override { return options_.form == "ipo"; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
