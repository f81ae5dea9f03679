// Self-play preference optimization with hard labels, arXiv:2405.00675 eq. 4.7, P = 1 and 0
//   ℓ = (u⁺ − 1/(2β))² + (u⁻ + 1/(2β))²      u = log π(y) − log π_ref(y)
#include "luce/loss/sppo.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, SppoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo Sppo::info() {
  return {.name = "sppo",
          .aliases = {"sppo_hard"},
          .title = "Self-play preference optimization (hard labels)",
          .paper = "Wu et al. 2024, arXiv:2405.00675, eq. 4.7",
          .formula = "loss = (u+ - 1/(2 beta))^2 + (u- + 1/(2 beta))^2",
          .notes = "Win rates are taken as 1 and 0.",
          .weights = "chosen -2 (u+ - 1/(2 beta)), rejected 2 (u- + 1/(2 beta))"};
}

Tensor Sppo::values(const PairInputs& pair, Metrics&) const {
  const auto u = pair.log_ratio();
  const double target = 1 / (2 * options_.beta);
  return (u.chosen - target).square() + (u.rejected + target).square();
}

}  // namespace luce
