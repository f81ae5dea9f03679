// Alignment via optimal transport, unpaired form, arXiv:2406.05882 §2.1
//   d = sort(u⁺) − sort(u⁻)      u = log π(y) − log π_ref(y), over the step
//   ℓ = −(1−ε) log σ(β d) − ε log σ(−β d)
#include "luce/loss/aot_unpaired.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, AotUnpairedOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
}

LossInfo AotUnpaired::info() {
  return {.name = "aot_unpaired",
          .aliases = {},
          .title = "Alignment via optimal transport, unpaired",
          .paper = "Melnyk et al. 2024, arXiv:2406.05882",
          .formula =
              "d = sort(u+) - sort(u-)\n"
              "loss = -(1-eps) log sigmoid(beta d) - eps log sigmoid(-beta d)",
          .notes =
              "Chosen and rejected log-ratios are compared as distributions over the "
              "optimizer step, so the loss couples it.",
          .weights = "those of dpo at d, for the rows that own the sorted values"};
}

Tensor AotUnpaired::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, eps] = options_;
  const auto u = pair.log_ratio();
  const Tensor d = std::get<0>(u.chosen.sort()) - std::get<0>(u.rejected.sort());
  return -(1 - eps) * at::log_sigmoid(beta * d) - eps * at::log_sigmoid(-beta * d);
}

}  // namespace luce
