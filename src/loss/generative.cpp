// Generative preference, regularised: P(y⁺ ≻ y⁻) = π(y⁺) / (π(y⁺) + π(y⁻))
//   ℓ = −log P + λ/2 [K(y⁺) + K(y⁻)]      K(y) = Σ_t KL(π(·|x, y_<t) ‖ π_ref(·|x, y_<t))
#include "luce/loss/generative.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, GenerativeOptions& o) {
  s.field("kl_weight", o.kl_weight, "weight λ of the exact KL to the reference; 0 needs none")
      .at_least(0);
}

LossInfo Generative::info() {
  return {.name = "generative",
          .aliases = {},
          .title = "Generative preference",
          .paper =
              "Luce 1959, \"Individual choice behavior\", applied to the policy's own "
              "probabilities; as dpo with a constant reference and beta 1: "
              "arXiv:2305.18290",
          .formula =
              "P = pi(y+) / (pi(y+) + pi(y-))\n"
              "loss = -log P + kl_weight/2 * [K(y+) + K(y-)]",
          .notes =
              "K is the exact KL to the reference over the vocabulary, summed over the "
              "answer's tokens. The weight 0.1 is ours.",
          .weights = "sigmoid(log pi(y-) - log pi(y+)); both alike"};
}

Needs Generative::needs() const {
  if (options_.kl_weight == 0) return {};
  return {
      .reference = true,
      .divergences = {
          {.kind = Divergence::forward_kl, .per = Per::item, .weight = options_.kl_weight / 2}}};
}

Tensor Generative::values(const PairInputs& pair, Metrics&) const {
  return -at::log_sigmoid(pair.logps.chosen - pair.logps.rejected);
}

}  // namespace luce
