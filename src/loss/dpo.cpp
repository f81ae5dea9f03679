// Direct Preference Optimization, arXiv:2305.18290 eq. 7 (ε: label smoothing, "conservative DPO")
//   h = β (u⁺ − u⁻)     u = log π(y) − log π_ref(y), sums over tokens, nats
//   ℓ = −(1−ε) log σ(h) − ε log σ(−h)                              log 2 at π = π_ref
#include "luce/loss/dpo.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, DpoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels; 0 is plain DPO")
      .at_least(0)
      .below(0.5);
}

LossInfo Dpo::info() {
  return {.name = "dpo",
          .aliases = {"sigmoid"},
          .title = "Direct Preference Optimization",
          .paper =
              "Rafailov et al. 2023, arXiv:2305.18290, eq. 7; label smoothing: Mitchell 2023, "
              "\"A note on DPO with noisy preferences\"",
          .formula =
              "h = beta * [(log pi(y+) - log pi_ref(y+)) - (log pi(y-) - log pi_ref(y-))]\n"
              "loss = -(1 - eps) * log sigmoid(h) - eps * log sigmoid(-h)",
          .notes =
              "Log-probs are summed over the completion's tokens, end-of-sequence included. "
              "The loss is log 2 where policy and reference are equal.",
          .weights = "beta [(1-eps)(1-p) - eps p], p = sigmoid(h); both alike"};
}

Tensor Dpo::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, eps] = options_;
  const auto s = pair.score();
  const Tensor h = beta * (s.chosen - s.rejected);
  return -(1 - eps) * at::log_sigmoid(h) - eps * at::log_sigmoid(-h);
}

}  // namespace luce
