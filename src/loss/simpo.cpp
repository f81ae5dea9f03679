// SimPO, arXiv:2405.14734 eq. 6 (ε: label smoothing)
//   h = β (log π(y⁺)/|y⁺| − log π(y⁻)/|y⁻|) − γ
//   ℓ = −(1−ε) log σ(h) − ε log σ(−h)
#include "luce/loss/simpo.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, SimpoOptions& o) {
  s.field("beta", o.beta, "slope of the loss on the gap of log-probs").above(0);
  s.field("gamma", o.gamma, "margin between the rewards β log π(y)/|y|")
      .at_least(0)
      .alias("simpo_gamma");
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
}

LossInfo Simpo::info() {
  return {.name = "simpo",
          .aliases = {},
          .title = "SimPO",
          .paper = "Meng et al. 2024, arXiv:2405.14734, eq. 6",
          .formula =
              "h = beta * (log pi(y+)/|y+| - log pi(y-)/|y-|) - gamma\n"
              "loss = -(1-eps) log sigmoid(h) - eps log sigmoid(-h)",
          .notes =
              "No reference. beta is the paper's (TRL's CPO trainer takes 0.1 unless "
              "told), gamma that of TRL.",
          .weights = "chosen beta sigmoid(-h) / |y+|, rejected the same / |y-|"};
}

Tensor Simpo::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, gamma, eps] = options_;
  const Tensor h = beta * (pair.mean_logps.chosen - pair.mean_logps.rejected) - gamma;
  return -(1 - eps) * at::log_sigmoid(h) - eps * at::log_sigmoid(-h);
}

}  // namespace luce
