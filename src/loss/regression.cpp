// Regression on scores: at the optimum of the KL-regularised reward, β u(y) = r(y) − β log Z
// (arXiv:2305.18290 eq. 5), so that differences within a prompt must agree
//   ℓ = mean over the prompt's answers of (β (u − ū) − (z − z̄))²      z: standardised scores
#include "luce/loss/regression.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, RegressionOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo Regression::info() {
  return {.name = "regression",
          .aliases = {},
          .title = "Regression on scores",
          .paper =
              "the optimum of Rafailov et al. 2023, arXiv:2305.18290, eq. 5, in least "
              "squares",
          .formula =
              "loss = mean over a prompt's answers of (beta (u - mean u) - (z - mean "
              "z))^2",
          .notes =
              "z are the scores, standardised over the training rows (data.score_mean "
              "and data.score_std keep the numbers). Answers of one prompt are "
              "compared; a prompt with one answer is left out.",
          .weights = "of answer k among K: -2 beta/K (beta (u_k - mean u) - (z_k - mean z))"};
}

Tensor Regression::values(const RankedInputs& x, Metrics&) const {
  const Tensor count = x.here.sum(1, true);
  const auto centred = [&](const Tensor& values) {
    return (values - (values * x.here).sum(1, true) / count) * x.here;
  };
  const Tensor error = options_.beta * centred(x.log_ratio()) - centred(x.score);
  return error.square().sum(1) / count.squeeze(1);
}

}  // namespace luce
