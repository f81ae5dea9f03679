// The optimum of J(π) = E_π[R] − β KL(π ‖ π_ref), π* ∝ π_ref e^{R/β}, and reward models written as
// policies through it.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "luce/loss/dpo.h"
#include "luce/loss/kl.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

/// Three prompts with four answers each.
KlObjective three_prompts(double beta) {
  return {log_policy(normal({3, 4}, 10)), normal({3, 4}, 11), beta};
}

Result objective_is_a_distance_to_the_optimum() {
  const KlObjective j = three_prompts(0.7);
  const Tensor log_p = log_policy(normal({3, 4}, 12)), best = j.log_optimum();
  return worst({deviation(j.value(log_p), j.beta * (j.log_z() - exact_kl(log_p, best))),
                deviation(j.value(best), j.beta * j.log_z())},
               "max J = " + figures(j.value(best).mean()));
}

Result reward_from_the_optimum() {
  const KlObjective j = three_prompts(0.3);
  const Tensor u = j.log_optimum() - j.log_ref, log_z = j.log_z().unsqueeze(1);
  return {deviation(j.beta * u + j.beta * log_z, j.reward), 1e-8,
          "off by " + figures((j.beta * u + log_z - j.reward).abs().max(), 3) +
              " with log Z in place of β log Z, β = 0.3"};
}

Result partition_function_cancels() {
  const KlObjective j = three_prompts(0.3);
  return {
      deviation(bradley_terry(j.beta * (j.log_optimum() - j.log_ref)), bradley_terry(j.reward))};
}

/// A reward R(θ) of four answers and the objective it belongs to.
struct RewardModel {
  SmoothTable reward{4, 13};
  KlObjective j{log_policy(normal({4}, 14)), reward.value, 0.4};
};

Result score_of_the_optimum() {
  const RewardModel m;
  const Tensor slope = jacobian(m.reward.value, m.reward.theta);
  return {deviation(jacobian(m.j.log_optimum(), m.reward.theta),
                    (slope - m.j.log_optimum().exp().matmul(slope)) / m.j.beta)};
}

Result dpo_of_the_optimum_is_the_reward_model() {
  const RewardModel m;
  const auto pairs = population(bradley_terry(normal({4}, 15)), uniform_pairs(4));
  const Tensor dpo =
      population_loss(Dpo({.beta = m.j.beta}), pairs, one_token_each(m.j.log_optimum()),
                      one_token_each(m.j.log_ref));
  const Tensor reward_loss = -pairs.mean(at::log_sigmoid(pairs.margin(m.reward.value)));
  return worst({deviation(dpo, reward_loss),
                deviation(gradient(dpo, m.reward.theta), gradient(reward_loss, m.reward.theta))},
               "loss " + figures(dpo));
}

Result gradient_of_regularised_generative_preference() {
  const RewardModel m;
  const Tensor best = m.j.log_optimum(), slope = jacobian(m.reward.value, m.reward.theta);
  const Tensor weight = at::sigmoid(best[1] - best[0]);  // the first answer is preferred
  const Tensor of_reward = at::sigmoid(m.reward.value[1] - m.reward.value[0]);
  return {deviation(gradient(-at::log_sigmoid(best[0] - best[1]), m.reward.theta),
                    -weight * (slope[0] - slope[1]) / m.j.beta),
          1e-8, "weight " + figures(weight, 3) + ", the reward model's " + figures(of_reward, 3)};
}

Result gradient_on_an_unseen_answer() {
  const Tensor r = normal({3}, 16).requires_grad_(true);
  const KlObjective j{log_policy(normal({3}, 17)), r, 0.4};
  const Tensor best = j.log_optimum(), u = best - j.log_ref;
  const auto on_third = [&](const Tensor& loss) { return gradient(loss, r)[2]; };  // 1 ≻ 2 is seen
  const Tensor bt = on_third(-at::log_sigmoid(r[0] - r[1]));
  const Tensor dpo = on_third(-at::log_sigmoid(j.beta * (u[0] - u[1])));
  const Tensor generative = on_third(-at::log_sigmoid(best[0] - best[1]));
  const Tensor likelihood = on_third(-best[0]);
  return worst(
      {largest(at::stack({bt, dpo, generative})), deviation(likelihood, best[2].exp() / j.beta)},
      "inverse reinforcement learning pushes R down by " + figures(likelihood, 3));
}

Result kl_as_entropy_and_cross_entropy() {
  const KlObjective j = three_prompts(0.7);
  const Tensor log_p = log_policy(normal({3, 4}, 18));
  return {deviation(j.value(log_p),
                    expectation(log_p, j.reward + j.beta * j.log_ref) + j.beta * entropy(log_p))};
}

Result beta_is_the_scale_of_the_reward() {
  const KlObjective j = three_prompts(0.7);
  const double c = 7.3;
  const KlObjective scaled{j.log_ref, c * j.reward, c * j.beta};
  return {deviation(scaled.log_optimum(), j.log_optimum()), 1e-8, "c = 7.3"};
}

Result rejection_sampling_draws_the_optimum() {
  const KlObjective j{log_policy(normal({4}, 19)), normal({4}, 20), 0.6};
  const Tensor highest = j.reward.max();
  const Tensor accepted = j.log_ref.exp() * ((j.reward - highest) / j.beta).exp();
  const Tensor rate = accepted.sum();

  // Best of 3, by all 64 draws, against F_i³ − F_{i−1}³ with F the reference's distribution of R.
  const auto rank = at::argsort(j.reward);
  const Tensor p = j.log_ref.exp().index_select(0, rank), cumulative = p.cumsum(0);
  const Tensor draws = at::cartesian_prod({at::arange(4), at::arange(4), at::arange(4)});  // ranks
  const Tensor best =
      at::zeros({4}, at::kDouble).index_add(0, draws.amax(1), p.index({draws}).prod(1));
  const Tensor below = at::cat({at::zeros({1}, at::kDouble), cumulative.slice(0, 0, 3)});
  return worst({deviation(accepted / rate, j.log_optimum().exp()),
                deviation(rate, (j.log_z() - highest / j.beta).exp()),
                deviation(best, cumulative.pow(3) - below.pow(3))},
               "rate " + figures(rate, 3) + ", best of 3 by rank " + figures(best, 3));
}

}  // namespace

std::vector<Identity> optimum_identities() {
  return {
      {6, "ObjectiveIsADistanceToTheOptimum",
       "J(π) = β log Z − β KL(π ‖ π*) for every π, so that max J = β log Z",
       objective_is_a_distance_to_the_optimum},
      {7, "RewardFromTheOptimum", "R = β log(π*/π_ref) + β log Z", reward_from_the_optimum},
      {8, "PartitionFunctionCancels", "σ(β(u_w − u_l)) = σ(R_w − R_l) for u = log(π*/π_ref)",
       partition_function_cancels},
      {9, "ScoreOfTheOptimum", "∇ log π*(y) = (∇R(y) − E_π*[∇R]) / β", score_of_the_optimum},
      {10, "DpoOfTheOptimumIsTheRewardModel",
       "DPO's loss of the policy π*(R(θ)) has the value and gradient of the reward model's loss",
       dpo_of_the_optimum_is_the_reward_model},
      {12, "GradientOfRegularisedGenerativePreference",
       "∇ −log σ(log π*_w − log π*_l) = −(1/β) σ(log π*_l − log π*_w) (∇R_w − ∇R_l)",
       gradient_of_regularised_generative_preference},
      {13, "GradientOnAnUnseenAnswer",
       "a reward table moves at an unseen answer by 0 under Bradley–Terry, DPO and generative "
       "preference, and by ∂(−log π*(y_w))/∂R = π*/β under inverse reinforcement learning",
       gradient_on_an_unseen_answer},
      {14, "KlAsEntropyAndCrossEntropy", "E_π[R] − β KL(π ‖ π_ref) = E_π[R + β log π_ref] + β H(π)",
       kl_as_entropy_and_cross_entropy},
      {15, "BetaIsTheScaleOfTheReward", "(cR, cβ) has the optimum of (R, β)",
       beta_is_the_scale_of_the_reward},
      {39, "RejectionSamplingDrawsTheOptimum",
       "y ~ π_ref accepted with probability e^((R − max R)/β) has the law π*, at the rate "
       "Z e^(−max R/β); the best of N is the i-th ranked answer with probability F_i^N − F_(i−1)^N",
       rejection_sampling_draws_the_optimum},
  };
}

}  // namespace luce::oracle
