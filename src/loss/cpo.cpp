// Contrastive preference optimization, arXiv:2401.08417 eq. 3 and 5
//   x = log π(y⁺) − log π(y⁻)
//   sigmoid  ℓ = −(1−ε) log σ(βx) − ε log σ(−βx)
//   hinge    ℓ = max(0, 1 − βx)
//   ipo      ℓ = (x̄ − 1/(2β))²      x̄: of log-probs per token
//   and α times the negative log-likelihood of the chosen answers per token
#include "luce/loss/cpo.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, CpoOptions& o) {
  s.field("beta", o.beta, "slope of the loss on the gap of log-probs").above(0);
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
  s.field("cpo_alpha", o.cpo_alpha, "weight of the chosen answers' negative log-likelihood")
      .at_least(0);
  s.field("form", o.form, "shape of the loss").one_of({"sigmoid", "hinge", "ipo"});
}

LossInfo Cpo::info() {
  return {.name = "cpo",
          .aliases = {},
          .title = "Contrastive preference optimization",
          .paper = "Xu et al. 2024, arXiv:2401.08417, eq. 3 and 5",
          .formula =
              "x = log pi(y+) - log pi(y-)\n"
              "loss = -(1-eps) log sigmoid(beta x) - eps log sigmoid(-beta x) + "
              "cpo_alpha * NLL(y+)",
          .notes =
              "No reference. The likelihood term is a mean over all chosen tokens of "
              "the step, as TRL has it. Other forms: hinge, and ipo on means per token.",
          .weights =
              "beta [(1-eps) sigmoid(-beta x) - eps sigmoid(beta x)]; both alike, "
              "chosen with the likelihood term"};
}

Tensor Cpo::values(const PairInputs& pair, Metrics&) const {
  const auto& [beta, eps, alpha, form] = options_;
  if (form == "ipo")
    return (pair.mean_logps.chosen - pair.mean_logps.rejected - 1 / (2 * beta)).square();
  const Tensor h = beta * (pair.logps.chosen - pair.logps.rejected);
  if (form == "hinge") return at::relu(1 - h);
  return -(1 - eps) * at::log_sigmoid(h) - eps * at::log_sigmoid(-h);
}

}  // namespace luce
