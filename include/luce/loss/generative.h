// Generative preference: the odds of the answers themselves.
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct GenerativeOptions {
  double kl_weight = 0.1;
};
void describe(Schema& s, GenerativeOptions& o);

class Generative : public WithOptions<PairLoss, GenerativeOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override;
  Tensor rewards(const GroupInputs& x) const override { return scaled(x.logps.sum(), 1); }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
