// SLiC-HF (Zhao et al., arXiv:2305.10425).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct SlicOptions {
  double delta = 1;
  double nll_weight = 0.5;
};
void describe(Schema& s, SlicOptions& o);

class Slic : public WithOptions<PairLoss, SlicOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  double nll_weight() const override { return options_.nll_weight; }
  Tensor rewards(const GroupInputs& x) const override { return scaled(x.logps.sum(), 1); }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
