// Noise contrastive alignment on pairs, arXiv:2402.05369 §3.2
//   r = β u      u = log π(y) − log π_ref(y)
//   ℓ = −log σ(r⁺) − ½ log σ(−r⁺) − ½ log σ(−r⁻)
#include "luce/loss/nca.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, NcaOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo Nca::info() {
  return {.name = "nca",
          .aliases = {"nca_pair"},
          .title = "Noise contrastive alignment",
          .paper = "Chen et al. 2024, arXiv:2402.05369",
          .formula =
              "r = beta * u\n"
              "loss = -log sigmoid(r+) - 1/2 log sigmoid(-r+) - 1/2 log sigmoid(-r-)",
          .notes =
              "It holds the chosen reward itself, not only the difference: r+ tends to "
              "log 2.",
          .weights = "chosen beta (1 - 1.5 sigmoid(r+)), rejected beta/2 sigmoid(r-)"};
}

Tensor Nca::values(const PairInputs& pair, Metrics&) const {
  const auto u = pair.log_ratio();
  const Tensor r_w = options_.beta * u.chosen, r_l = options_.beta * u.rejected;
  return -at::log_sigmoid(r_w) - 0.5 * at::log_sigmoid(-r_w) - 0.5 * at::log_sigmoid(-r_l);
}

}  // namespace luce
