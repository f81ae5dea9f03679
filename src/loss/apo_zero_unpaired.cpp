// Anchored preference optimization, APO-zero, arXiv:2408.06266 eq. 7, its two halves by themselves
//   desirable    ℓ = λ_D (1 − σ(β u))      u = log π(y) − log π_ref(y)
//   undesirable  ℓ = λ_U σ(β u)
#include "luce/loss/apo_zero_unpaired.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, ApoZeroUnpairedOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("desirable_weight", o.desirable_weight, "λ_D").at_least(0);
  s.field("undesirable_weight", o.undesirable_weight, "λ_U").at_least(0);
}

LossInfo ApoZeroUnpaired::info() {
  return {.name = "apo_zero_unpaired",
          .aliases = {},
          .title = "APO-zero on unpaired answers",
          .paper = "D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7",
          .formula =
              "desirable:   loss = desirable_weight * (1 - sigmoid(beta u))\n"
              "undesirable: loss = undesirable_weight * sigmoid(beta u)",
          .notes =
              "kto with z0 = 0: no answers of other rows are scored. Answers of pairs "
              "count one by one.",
          .weights =
              "desirable lambda_D beta s(1-s), s = sigmoid(beta u); undesirable "
              "lambda_U beta s(1-s)"};
}

Tensor ApoZeroUnpaired::values(const UnpairedInputs& x, Metrics&) const {
  const auto [beta, lambda_D, lambda_U] = options_;
  const Tensor s = at::sigmoid(beta * x.log_ratio());
  return at::where(x.desirable.gt(0), lambda_D * (1 - s), lambda_U * s);
}

}  // namespace luce
