// Efficient exact optimization on pairs, arXiv:2402.00856 eq. 16
//   q = σ(β (s⁺ − s⁻))
//   ℓ = q (log q − log(1−ε)) + (1−q) (log(1−q) − log ε)       KL of (q, 1−q) to (1−ε, ε)
#include "luce/loss/exo.h"

#include <ATen/ATen.h>

#include <cmath>

namespace luce {

void describe(Schema& s, ExoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("label_smoothing", o.label_smoothing, "ε: the target of the margin is log((1−ε)/ε)")
      .above(0)
      .below(0.5);
}

LossInfo Exo::info() {
  return {.name = "exo",
          .aliases = {"exo_pair"},
          .title = "Efficient exact optimization",
          .paper = "Ji et al. 2024, arXiv:2402.00856, eq. 16",
          .formula =
              "q = sigmoid(beta * (u+ - u-))\n"
              "loss = q (log q - log(1-eps)) + (1-q) (log(1-q) - log eps)",
          .notes =
              "The reverse KL of the policy's own odds to the smoothed label: it stops "
              "at the odds (1-eps)/eps.",
          .weights =
              "beta p (1-p) [log((1-eps)/eps) - h], p = q, h = beta (u+ - u-); both "
              "alike"};
}

Tensor Exo::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, eps] = options_;
  const auto s = pair.score();
  const Tensor h = beta * (s.chosen - s.rejected);
  return at::sigmoid(h) * (at::log_sigmoid(h) - std::log1p(-eps)) +
         at::sigmoid(-h) * (at::log_sigmoid(-h) - std::log(eps));
}

}  // namespace luce
