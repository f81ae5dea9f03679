// Direct Preference Optimization (Rafailov et al., arXiv:2305.18290).
#pragma once

#include "luce/base/schema.h"
#include "luce/loss/loss.h"
#include "luce/loss/registry.h"

namespace luce {

struct DpoOptions {
  double beta = 0.1;
  double label_smoothing = 0;
};

inline void describe(Schema& s, DpoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels; 0 is plain DPO")
      .at_least(0)
      .below(0.5);
}

class Dpo : public PairLoss {
 public:
  using Options = DpoOptions;
  static LossInfo info();

  explicit Dpo(const Options& options = {}) : options_(options) {}
  Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return options_.beta; }
  Tensor operator()(const PairInputs& pair, Metrics& metrics) const override;
  using PairLoss::operator();

 private:
  Options options_;
};

}  // namespace luce
