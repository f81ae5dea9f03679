// Softmax, its derivatives, and Bradley–Terry: the logistic function of a difference.
#include <ATen/ATen.h>

#include <cmath>

#include "luce/loss/dpo.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

Result gradient_of_log_sum_exp() {
  const SmoothTable f(5, 1);
  const Tensor p = at::softmax(f.value, 0);
  return {deviation(gradient(at::logsumexp(f.value, {0}), f.theta),
                    p.matmul(jacobian(f.value, f.theta)))};
}

Result score_of_a_softmax() {
  const SmoothTable f(5, 2);
  const Tensor p = at::softmax(f.value, 0);
  const Tensor slope = jacobian(f.value, f.theta);
  const Tensor score = jacobian(log_policy(f.value), f.theta);
  return worst({deviation(score, slope - p.matmul(slope)), largest(p.matmul(score))});
}

Result gradient_of_bradley_terry() {
  const SmoothTable r(4, 3);
  const Tensor slope = jacobian(r.value, r.theta);
  const Tensor p = bradley_terry(r.value);
  const Tensor gap = slope.unsqueeze(1) - slope.unsqueeze(0);  // ∇R_w − ∇R_l: [S, S, 4]
  return {deviation(jacobian(p.log(), r.theta).view({4, 4, 4}), p.t().unsqueeze(2) * gap)};
}

Result generative_preference_is_dpo() {
  const SmoothTable f(4, 4);
  const auto pairs = population(bradley_terry(normal({4}, 5)), uniform_pairs(4));
  const Tensor logp = log_policy(f.value), p = logp.exp();
  const Tensor won = p.unsqueeze(1) / (p.unsqueeze(1) + p.unsqueeze(0));  // π_w / (π_w + π_l)
  const Tensor w = at::tensor(pairs.chosen, at::kLong), l = at::tensor(pairs.rejected, at::kLong);
  const Tensor generative = -pairs.mean(won.index({w, l}).log());
  const Tensor constant = at::full({4}, -std::log(4.0), at::kDouble);
  const Tensor dpo =
      population_loss(Dpo({.beta = 1}), pairs, one_token_each(logp), one_token_each(constant));
  return worst({deviation(generative, dpo),
                deviation(gradient(generative, f.theta), gradient(dpo, f.theta))},
               "loss " + figures(dpo));
}

Result rewards_are_fixed_up_to_a_constant() {
  const Tensor r = normal({3, 4}, 6).requires_grad_(true), c = normal({3, 1}, 7);
  const auto loss = [](const Tensor& reward) {  // the first answer is preferred to the second
    return -at::log_sigmoid(reward.select(1, 0) - reward.select(1, 1)).mean();
  };
  return worst({deviation(bradley_terry(r + c), bradley_terry(r)), deviation(loss(r + c), loss(r)),
                deviation(gradient(loss(r + c), r), gradient(loss(r), r))});
}

}  // namespace

std::vector<Identity> softmax_identities() {
  return {
      {1, "GradientOfLogSumExp", "∇ log Σ_y e^f(y) = E[∇f(y)], y drawn from softmax f",
       gradient_of_log_sum_exp},
      {2, "ScoreOfASoftmax",
       "∇ log π(y) = ∇f(y) − E_π[∇f] for π = softmax f, so that E_π[∇ log π] = 0",
       score_of_a_softmax},
      {3, "GradientOfBradleyTerry",
       "∇ log σ(R_w − R_l) = P(l ≻ w) (∇R_w − ∇R_l) for any differentiable R",
       gradient_of_bradley_terry},
      {4, "GenerativePreferenceIsDpo",
       "with log π for R this is −log π_w/(π_w + π_l): DPO with β = 1 and a constant reference",
       generative_preference_is_dpo},
      {5, "RewardsAreFixedUpToAConstant",
       "R + c(x) has the probabilities, the loss and the gradient of R, for any c of the prompt",
       rewards_are_fixed_up_to_a_constant},
  };
}

}  // namespace luce::oracle
