// AlphaPO, arXiv:2501.03884 eq. 10
//   r = (1 − p^(−α)) / α, p = exp(log π(y)/|y|)          α → 0: r = log p, and the loss is simpo
//   h = β (r⁺ − r⁻) − γ
//   ℓ = −(1−ε) log σ(h) − ε log σ(−h)
#include "luce/loss/alphapo.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, AlphaPoOptions& o) {
  s.field("beta", o.beta, "slope of the loss on the gap of log-probs").above(0);
  s.field("gamma", o.gamma, "margin between the rewards β r").at_least(0).alias("simpo_gamma");
  s.field("alpha", o.alpha, "shape of the reward; 0 is its logarithm, as in simpo");
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
}

LossInfo AlphaPo::info() {
  return {.name = "alphapo",
          .aliases = {},
          .title = "AlphaPO",
          .paper = "Gupta et al. 2025, arXiv:2501.03884, eq. 10",
          .formula =
              "r = (1 - p^(-alpha)) / alpha, p = exp(log pi(y)/|y|)\n"
              "h = beta * (r+ - r-) - gamma\n"
              "loss = -(1-eps) log sigmoid(h) - eps log sigmoid(-h)",
          .notes = "No reference. alpha = 0 is simpo.",
          .weights = "chosen beta sigmoid(-h) p+^(-alpha) / |y+|, rejected the same of y-"};
}

namespace {

/// (1 − e^(−α log p)) / α, without loss of digits near α log p = 0.
Tensor reward(const Tensor& log_p, double alpha) {
  if (alpha == 0) return log_p;
  return -at::expm1((-alpha * log_p).clamp_max(80)) / alpha;
}

}  // namespace

Tensor AlphaPo::rewards(const GroupInputs& x) const {
  return scaled(reward(x.logps.mean(), options_.alpha), options_.beta);
}

Tensor AlphaPo::values(const PairInputs& pair, Metrics&) const {
  const auto [beta, gamma, alpha, eps] = options_;
  const Tensor h =
      beta * (reward(pair.mean_logps.chosen, alpha) - reward(pair.mean_logps.rejected, alpha)) -
      gamma;
  return -(1 - eps) * at::log_sigmoid(h) - eps * at::log_sigmoid(-h);
}

}  // namespace luce
