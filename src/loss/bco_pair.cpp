// Binary classifier optimization on pairs, arXiv:2404.04656 eq. 9 with δ = 0 (bco has a running δ)
//   r = β u
//   ℓ = −log σ(r⁺) − log σ(−r⁻)
#include "luce/loss/bco_pair.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, BcoPairOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo BcoPair::info() {
  return {.name = "bco_pair",
          .aliases = {},
          .title = "Binary classifier optimization on pairs",
          .paper = "Jung et al. 2024, arXiv:2404.04656",
          .formula =
              "r = beta * u\n"
              "loss = -log sigmoid(r+) - log sigmoid(-r-)",
          .notes =
              "Each answer is classified by itself; bco adds the running shift of the "
              "rewards.",
          .weights = "chosen beta sigmoid(-r+), rejected beta sigmoid(r-)"};
}

Tensor BcoPair::values(const PairInputs& pair, Metrics&) const {
  const auto u = pair.log_ratio();
  return -at::log_sigmoid(options_.beta * u.chosen) - at::log_sigmoid(-options_.beta * u.rejected);
}

}  // namespace luce
