// Length-normalised DPO, as in Tulu 3 (Lambert et al., arXiv:2411.15124 §5.1)
//   ℓ = −log σ(β (s⁺/|y⁺| − s⁻/|y⁻|))      s: the log-ratio
#include "luce/loss/sigmoid_norm.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, SigmoidNormOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo SigmoidNorm::info() {
  return {.name = "sigmoid_norm",
          .aliases = {"dpo_norm"},
          .title = "Length-normalised DPO",
          .paper = "Lambert et al. 2024, arXiv:2411.15124, section 5.1",
          .formula =
              "D = u+/|y+| - u-/|y-|\n"
              "loss = -log sigmoid(beta D)",
          .notes =
              "Log-ratios are means per token, so beta is larger than for dpo: 5 in the "
              "paper.",
          .weights = "chosen beta sigmoid(-beta D) / |y+|, rejected the same / |y-|"};
}

Tensor SigmoidNorm::values(const PairInputs& pair, Metrics&) const {
  const auto s = pair.mean_score();
  return -at::log_sigmoid(options_.beta * (s.chosen - s.rejected));
}

}  // namespace luce
