// PPO, RLOO, REINFORCE and kin: defaults and what is said of them.
#include "rl/presets.h"

#include "luce/rl/policy_gradient.h"

namespace luce {
namespace {

AlgorithmInfo ppo_info() {
  return {.name = "ppo",
          .title = "Proximal policy optimization",
          .paper =
              "Schulman et al. 2017, arXiv:1707.06347, eq. 7; Ziegler et al. 2019, "
              "arXiv:1909.08593; advantages: arXiv:1506.02438, eq. 16",
          .formula =
              "r_t = -beta * (log pi_old - log pi_ref), and the reward on the last token\n"
              "A = whitened GAE(gamma, lam), r = pi / pi_old\n"
              "loss = -min(r A, clip(r, 1-eps, 1+eps) A)\n"
              "value loss = 1/2 max((V - G)^2, (clip(V, V_old +- c) - G)^2), G = A + V_old",
          .notes =
              "Needs a value model. The only one here whose advantages differ from token to "
              "token when the reward is one number a completion."};
}

PolicyGradientOptions ppo() {
  PolicyGradientOptions o;
  o.advantage.estimator = "gae";
  o.advantage.action = "token";
  o.advantage.whiten_advantages = true;
  o.kl.place = "reward";
  o.kl.beta = 0.05;
  o.num_iterations = 4;
  return o;
}

AlgorithmInfo rloo_info() {
  return {.name = "rloo",
          .title = "REINFORCE leave-one-out",
          .paper =
              "Ahmadian et al. 2024, arXiv:2402.14740; Kool et al. 2019, \"Buy 4 REINFORCE "
              "samples, get a baseline for free\"",
          .formula =
              "R = reward - beta * sum_t (log pi_old - log pi_ref)\n"
              "A_i = R_i - mean of the group's other R\n"
              "r = pi(y) / pi_old(y), loss = -min(r A, clip(r, 1-eps, 1+eps) A)",
          .notes =
              "The completion is the action. On the first update of a rollout the expected "
              "gradient is exactly that of the mean R, for any group size from 2."};
}

PolicyGradientOptions rloo() {
  PolicyGradientOptions o;
  o.advantage.estimator = "leave_one_out";
  o.surrogate.importance_sampling_level = "completion";
  o.kl.place = "reward";
  o.kl.beta = 0.05;
  o.aggregation = "sequence_mean";
  return o;
}

AlgorithmInfo reinforce_info() {
  return {.name = "reinforce",
          .title = "REINFORCE",
          .paper = "Williams 1992, \"Simple statistical gradient-following algorithms\"",
          .formula = "A_t = G_t - running mean of earlier rewards\nloss = -A_t log pi",
          .notes =
              "No ratio: each rollout should be used for one update. Summed over tokens, the "
              "expected gradient is exactly that of the mean reward."};
}

PolicyGradientOptions reinforce() {
  PolicyGradientOptions o;
  o.advantage.estimator = "moving";
  o.advantage.action = "token";
  o.surrogate.surrogate = "reinforce";
  o.kl.place = "reward";
  o.aggregation = "sequence_sum";
  return o;
}

AlgorithmInfo reinforce_pp_info() {
  return {.name = "reinforce_pp",
          .aliases = {"reinforce++"},
          .title = "REINFORCE++",
          .paper = "Hu et al. 2025, arXiv:2501.03262",
          .formula =
              "r_t = -beta * (log pi_old - log pi_ref), and the reward on the last token\n"
              "A = whitened reward-to-go, over the whole rollout\n"
              "loss = -min(r A, clip(r, 1-eps, 1+eps) A)",
          .notes =
              "PPO without a value model: rewards are compared with all of the rollout, so "
              "that one completion a prompt is enough."};
}

PolicyGradientOptions reinforce_pp() {
  PolicyGradientOptions o;
  o.advantage.estimator = "none";
  o.advantage.action = "token";
  o.advantage.whiten_advantages = true;
  o.kl.place = "reward";
  o.kl.beta = 0.01;
  return o;
}

AlgorithmInfo reinforce_pp_baseline_info() {
  return {.name = "reinforce_pp_baseline",
          .aliases = {"reinforce++-baseline"},
          .title = "REINFORCE++ with a group baseline",
          .paper = "Hu et al. 2025, arXiv:2501.03262",
          .formula =
              "A = whitened (reward - mean of the group), over the whole rollout\n"
              "loss = -min(r A, clip(r, 1-eps, 1+eps) A) + beta * 1/2 (log pi - log pi_ref)^2",
          .notes = "GRPO with one deviation for all groups: hard and easy prompts weigh the same."};
}

PolicyGradientOptions reinforce_pp_baseline() {
  PolicyGradientOptions o;
  o.advantage.estimator = "group_mean";
  o.advantage.action = "token";
  o.advantage.whiten_advantages = true;
  o.kl.place = "loss";
  o.kl.beta = 0.01;
  o.kl.estimator = "k2";
  o.kl.gradient = "own";
  return o;
}

AlgorithmInfo remax_info() {
  return {
      .name = "remax",
      .title = "ReMax",
      .paper = "Li et al. 2023, arXiv:2310.10505",
      .formula =
          "A_t = G_t - reward of the prompt's greedy completion\n"
          "loss = -A_t log pi",
      .notes = "One completion a prompt, and a greedy one that is rewarded but not trained on."};
}

PolicyGradientOptions remax() {
  PolicyGradientOptions o = reinforce();
  o.advantage.estimator = "greedy";
  return o;
}

}  // namespace

void add_policy_gradients(Algorithms& all) {
  all.add<PolicyGradient>(ppo_info(), ppo());
  all.add<PolicyGradient>(rloo_info(), rloo());
  all.add<PolicyGradient>(reinforce_info(), reinforce());
  all.add<PolicyGradient>(reinforce_pp_info(), reinforce_pp());
  all.add<PolicyGradient>(reinforce_pp_baseline_info(), reinforce_pp_baseline());
  all.add<PolicyGradient>(remax_info(), remax());
}

}  // namespace luce
