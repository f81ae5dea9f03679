// Hinge on the margin of log-ratios, RSO, arXiv:2309.06657 eq. 10 (its γ is β here)
//   ℓ = max(0, 1 − β (s⁺ − s⁻))
#include "luce/loss/hinge.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, HingeOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo Hinge::info() {
  return {.name = "hinge",
          .aliases = {},
          .title = "Hinge on the margin of log-ratios",
          .paper = "Liu et al. 2023, arXiv:2309.06657, eq. 10",
          .formula = "loss = max(0, 1 - beta * (u+ - u-))",
          .notes = "Pairs whose margin is above 1 add nothing.",
          .weights = "beta where the margin is below 1, else 0; both alike"};
}

Tensor Hinge::values(const PairInputs& pair, Metrics&) const {
  const auto s = pair.score();
  return at::relu(1 - options_.beta * (s.chosen - s.rejected));
}

}  // namespace luce
