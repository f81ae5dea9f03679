// Anchored preference optimization, APO-down, arXiv:2408.06266 eq. 8
//   ℓ = σ(β u⁺) + 1 − σ(β (u⁺ − u⁻))      u = log π(y) − log π_ref(y)
#include "luce/loss/apo_down.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, ApoDownOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo ApoDown::info() {
  return {.name = "apo_down",
          .aliases = {},
          .title = "Anchored preference optimization (down)",
          .paper = "D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8",
          .formula = "loss = sigmoid(beta u+) + 1 - sigmoid(beta (u+ - u-))",
          .notes =
              "Lowers both answers, the rejected one more: for chosen answers that are "
              "worse than the model's own.",
          .weights =
              "chosen beta [p(1-p) - s(r+) s(-r+)], rejected beta p(1-p), p = s(beta "
              "(u+ - u-)), s = sigmoid"};
}

Tensor ApoDown::values(const PairInputs& pair, Metrics&) const {
  const double beta = options_.beta;
  const auto u = pair.log_ratio();
  return at::sigmoid(beta * u.chosen) + 1 - at::sigmoid(beta * (u.chosen - u.rejected));
}

}  // namespace luce
