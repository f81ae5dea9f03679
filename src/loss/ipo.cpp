// Identity Preference Optimization, arXiv:2310.12036 eq. 17 (its τ is β here)
//   D = s⁺/|y⁺| − s⁻/|y⁻|      s: the log-ratio; lengths "sum": D = s⁺ − s⁻
//   ℓ = (D − 1/(2β))²
#include "luce/loss/ipo.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, IpoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference").above(0);
  s.field("lengths", o.lengths, "log-ratios per token, as TRL, or their sums, as OpenRLHF")
      .one_of({"mean", "sum"});
}

LossInfo Ipo::info() {
  return {.name = "ipo",
          .aliases = {},
          .title = "Identity Preference Optimization",
          .paper = "Azar et al. 2023, arXiv:2310.12036, eq. 17",
          .formula =
              "D = u+/|y+| - u-/|y-|\n"
              "loss = (D - 1/(2 beta))^2",
          .notes =
              "Bounded where DPO is not: the target of the margin is 1/(2 beta). The "
              "means per token are what the authors reported results with; lengths "
              "\"sum\" is the formula as printed.",
          .weights = "chosen -2 (D - 1/(2 beta)) / |y+|, rejected the same / |y-|"};
}

Tensor Ipo::values(const PairInputs& pair, Metrics&) const {
  const auto s = options_.lengths == "mean" ? pair.mean_score() : pair.score();
  const Tensor D = s.chosen - s.rejected;
  return (D - 1 / (2 * options_.beta)).square();
}

}  // namespace luce
