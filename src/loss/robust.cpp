// Provably robust DPO, arXiv:2403.00409 eq. 12
//   h = β (s⁺ − s⁻)
//   ℓ = [−(1−ε) log σ(h) + ε log σ(−h)] / (1 − 2ε)          unbiased under flips; may be negative
#include "luce/loss/robust.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, RobustOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
}

LossInfo Robust::info() {
  return {.name = "robust",
          .aliases = {},
          .title = "Robust DPO",
          .paper = "Chowdhury et al. 2024, arXiv:2403.00409, eq. 12",
          .formula =
              "h = beta * (u+ - u-)\n"
              "loss = [-(1-eps) log sigmoid(h) + eps log sigmoid(-h)] / (1 - 2 eps)",
          .notes =
              "Its expectation under labels that are flipped with probability eps is "
              "the DPO loss of the true labels.",
          .weights = "beta [(1-eps)(1-p) + eps p] / (1-2eps), p = sigmoid(h); both alike"};
}

Tensor Robust::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, eps] = options_;
  const auto s = pair.score();
  const Tensor h = beta * (s.chosen - s.rejected);
  return (-(1 - eps) * at::log_sigmoid(h) + eps * at::log_sigmoid(-h)) / (1 - 2 * eps);
}

}  // namespace luce
