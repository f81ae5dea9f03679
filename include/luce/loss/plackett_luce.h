// Plackett-Luce: the likelihood of a whole ranking.
#pragma once

#include "luce/loss/ranked.h"
#include "luce/loss/registry.h"

namespace luce {

struct PlackettLuceOptions {
  double beta = 0.1;
  std::string form = "ranking";
};
void describe(Schema& s, PlackettLuceOptions& o);

/// The negative log-likelihood of ranked answers with strengths s [Q, K], one a group: [Q]; of the
/// best answer alone with `top1`. Differentiable in s.
Tensor plackett_luce(const Tensor& s, const RankedInputs& groups, bool top1);

class PlackettLuce : public WithOptions<RankedLoss, PlackettLuceOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return options_.beta; }
  Tensor values(const RankedInputs& groups, Metrics& metrics) const override;
};

}  // namespace luce
