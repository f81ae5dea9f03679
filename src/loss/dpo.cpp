// Direct Preference Optimization, arXiv:2305.18290 eq. 7 (ε: label smoothing, "conservative DPO")
//   h = β [ (log π(y⁺) − log π_ref(y⁺)) − (log π(y⁻) − log π_ref(y⁻)) ]       sums over tokens,
//   nats ℓ = −(1−ε) log σ(h) − ε log σ(−h)                                         log 2 at π =
//   π_ref
#include "luce/loss/dpo.h"

#include <ATen/ATen.h>

namespace luce {

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
              "The loss is log 2 where policy and reference are equal."};
}

Tensor Dpo::operator()(const PairInputs& pair, Metrics&) const {
  const auto [beta, eps] = options_;
  const auto u = pair.log_ratio();
  const Tensor h = beta * (u.chosen - u.rejected);
  return -(1 - eps) * at::log_sigmoid(h) - eps * at::log_sigmoid(-h);
}

}  // namespace luce
