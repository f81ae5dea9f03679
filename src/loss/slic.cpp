// SLiC-HF, arXiv:2305.10425 eq. 1
//   ℓ = max(0, δ − log π(y⁺) + log π(y⁻)), and λ times the chosen answers' negative log-likelihood
//   per token
#include "luce/loss/slic.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, SlicOptions& o) {
  s.field("delta", o.delta, "margin that log π(y⁺) must keep above log π(y⁻), nats").above(0);
  s.field("nll_weight", o.nll_weight, "weight λ of the chosen answers' negative log-likelihood")
      .at_least(0);
}

LossInfo Slic::info() {
  return {.name = "slic",
          .aliases = {},
          .title = "SLiC-HF",
          .paper = "Zhao et al. 2023, arXiv:2305.10425, eq. 1",
          .formula = "loss = max(0, delta - log pi(y+) + log pi(y-)) + nll_weight * NLL(y+)",
          .notes =
              "No reference: the likelihood term keeps the policy where it was trained. "
              "Defaults are ours.",
          .weights =
              "1 where log pi(y+) - log pi(y-) < delta, else 0; both alike, chosen with "
              "the likelihood term"};
}

Tensor Slic::values(const PairInputs& pair, Metrics&) const {
  return at::relu(options_.delta - pair.logps.chosen + pair.logps.rejected);
}

}  // namespace luce
