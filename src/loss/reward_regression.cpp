// Least squares on graded answers, one by one
//   ℓ = (r(y) − z(y))²        z: the row's score, standardised over the training rows
#include "luce/loss/reward_regression.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema&, RewardRegressionOptions&) {}

RewardLossInfo RewardRegression::info() {
  return {.name = "regression",
          .title = "Regression on scores",
          .paper = "least squares",
          .formula = "loss = mean over answers of (r - z)^2",
          .notes =
              "z are the scores, standardised over the training rows; their mean and deviation are "
              "saved with the model, so that `luce score` gives them back on their own scale."};
}

Terms RewardRegression::operator()(const ScoreInputs& x, Metrics&) const {
  const Tensor z = at::tensor(x.columns.score, at::kDouble).to(x.scores.device()).unsqueeze(1);
  return {over_heads((x.last().to(at::kDouble) - z).square(), x, Per::sequence)};
}

}  // namespace luce
