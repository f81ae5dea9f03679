// Alignment via optimal transport, paired form, arXiv:2406.05882 §2.2
//   d = sort(log π(y⁺) − log π(y⁻)) − sort(log π_ref(y⁺) − log π_ref(y⁻))     over the step
//   ℓ = −(1−ε) log σ(β d) − ε log σ(−β d)
#include "luce/loss/aot.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"

namespace luce {

void describe(Schema& s, AotOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
}

LossInfo Aot::info() {
  return {.name = "aot",
          .aliases = {},
          .title = "Alignment via optimal transport, paired",
          .paper = "Melnyk et al. 2024, arXiv:2406.05882",
          .formula =
              "d = sort(log pi(y+) - log pi(y-)) - sort(log pi_ref(y+) - log "
              "pi_ref(y-))\n"
              "loss = -(1-eps) log sigmoid(beta d) - eps log sigmoid(-beta d)",
          .notes =
              "The margins of policy and reference are compared as distributions over "
              "the pairs of the optimizer step, so the loss couples it.",
          .weights = "those of dpo at d, for the row that owns the sorted value"};
}

Tensor Aot::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, eps] = options_;
  if (!pair.ref_logps) throw ArgumentError("[Aot] needs the reference's log-probs");
  const auto sorted = [](const Pair<Tensor>& logps) {
    return std::get<0>((logps.chosen - logps.rejected).sort());
  };
  const Tensor d = sorted(pair.logps) - sorted(*pair.ref_logps);
  return -(1 - eps) * at::log_sigmoid(beta * d) - eps * at::log_sigmoid(-beta * d);
}

}  // namespace luce
