// DiscoPOP, the log-ratio modulated loss, arXiv:2406.08414 eq. 5
//   z = β (s⁺ − s⁻), g = σ(z/τ)
//   ℓ = (1−g) (−log σ(z)) + g e^(−z)              the exponential at most e^80
#include "luce/loss/discopop.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, DiscopopOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("tau", o.tau, "width of the passage from the logistic to the exponential loss")
      .above(0)
      .alias("discopop_tau");
}

LossInfo Discopop::info() {
  return {.name = "discopop",
          .aliases = {},
          .title = "DiscoPOP",
          .paper = "Lu et al. 2024, arXiv:2406.08414, eq. 5",
          .formula =
              "z = beta * (u+ - u-), g = sigmoid(z / tau)\n"
              "loss = (1-g) (-log sigmoid(z)) + g exp(-z)",
          .notes = "Found by search over loss functions; not convex.",
          .weights =
              "beta [(1-g) sigmoid(-z) + g e^-z - g(1-g)/tau (e^-z + log sigmoid(z))]; "
              "both alike"};
}

Tensor Discopop::values(const PairInputs& pair, Metrics&) const {
  const auto s = pair.score();
  const Tensor z = options_.beta * (s.chosen - s.rejected);
  const Tensor g = at::sigmoid(z / options_.tau);
  // g e^(−z) as one exponential: by themselves the factors may be 0 and infinite.
  const Tensor exponential = (at::log_sigmoid(z / options_.tau) - z).clamp_max(80).exp();
  return (1 - g) * -at::log_sigmoid(z) + exponential;
}

}  // namespace luce
