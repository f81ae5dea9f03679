// Kahneman-Tversky optimization, arXiv:2402.01306 eq. 8
//   z₀ = max(0, mean of log π(y′|x) − log π_ref(y′|x))      y′: another row's answer; no gradient
//   desirable    ℓ = λ_D (1 − σ(β (u − z₀)))
//   undesirable  ℓ = λ_U (1 − σ(β (z₀ − u)))                u = log π(y) − log π_ref(y)
#include "luce/loss/kto.h"

#include <ATen/ATen.h>

#include "luce/base/log.h"

namespace luce {

void describe(Schema& s, KtoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("desirable_weight", o.desirable_weight, "λ_D").at_least(0);
  s.field("undesirable_weight", o.undesirable_weight, "λ_U").at_least(0);
}

LossInfo Kto::info() {
  return {.name = "kto",
          .aliases = {},
          .title = "Kahneman-Tversky optimization",
          .paper = "Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8",
          .formula =
              "z0 = max(0, mean over the step of log pi(y') - log pi_ref(y')), y' "
              "another row's answer\n"
              "desirable:   loss = desirable_weight * (1 - sigmoid(beta (u - z0)))\n"
              "undesirable: loss = undesirable_weight * (1 - sigmoid(beta (z0 - u)))",
          .notes =
              "z0 is one number of the whole optimizer step, so the loss couples it: "
              "the policy runs twice, the first time without a gradient and with the "
              "answers y' beside. Answers of pairs count one by one.",
          .weights =
              "desirable lambda_D beta s(1-s), s = sigmoid(beta (u - z0)); undesirable "
              "lambda_U beta s(1-s)"};
}

Tensor Kto::values(const UnpairedInputs& x, Metrics& metrics) const {
  const auto [beta, lambda_D, lambda_U] = options_;
  const Tensor u = x.log_ratio();
  const Tensor z0 = x.mismatched_log_ratio.numel() > 0 ? x.mismatched_log_ratio.mean().clamp_min(0)
                                                       : at::zeros({}, u.options());
  metrics.add("kl", z0.item<double>(), 1);
  const Tensor desirable = lambda_D * (1 - at::sigmoid(beta * (u - z0)));
  const Tensor undesirable = lambda_U * (1 - at::sigmoid(beta * (z0 - u)));
  return at::where(x.desirable.gt(0), desirable, undesirable);
}

void Kto::check_rows(const std::vector<Example>& train) const {
  double desirable = 0, undesirable = 0;
  for (const Example& row : train)
    for (size_t k = 0; k < row.completions.size(); ++k) {
      desirable += row.role(k) == Role::chosen;
      undesirable += row.role(k) == Role::rejected;
    }
  const double ratio =
      options_.desirable_weight * desirable / (options_.undesirable_weight * undesirable);
  if (desirable > 0 && undesirable > 0 && (ratio < 1 || ratio > 4.0 / 3))
    log::warn("kto: the weighted ratio of desirable to undesirable answers is ", ratio,
              "; its authors advise 1 to 4/3, here a desirable_weight from ",
              options_.undesirable_weight * undesirable / desirable, " to ",
              options_.undesirable_weight * undesirable / desirable * 4 / 3);
}

}  // namespace luce
