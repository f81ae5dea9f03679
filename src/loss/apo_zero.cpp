// Anchored preference optimization, APO-zero, arXiv:2408.06266 eq. 7
//   ℓ = 1 − σ(β u⁺) + σ(β u⁻)      u = log π(y) − log π_ref(y)
#include "luce/loss/apo_zero.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, ApoZeroOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo ApoZero::info() {
  return {.name = "apo_zero",
          .aliases = {},
          .title = "Anchored preference optimization (zero)",
          .paper = "D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7",
          .formula = "loss = 1 - sigmoid(beta u+) + sigmoid(beta u-)",
          .notes =
              "Raises the chosen and lowers the rejected answer: for chosen answers "
              "that are better than the model's own.",
          .weights =
              "chosen beta s(r+) s(-r+), rejected beta s(r-) s(-r-), s = sigmoid, r = "
              "beta u"};
}

Tensor ApoZero::values(const PairInputs& pair, Metrics&) const {
  const auto u = pair.log_ratio();
  return 1 - at::sigmoid(options_.beta * u.chosen) + at::sigmoid(options_.beta * u.rejected);
}

}  // namespace luce
