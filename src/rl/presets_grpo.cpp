// GRPO and kin: advantages from groups, and no value model. Defaults and what is said of them.
#include "luce/rl/policy_gradient.h"
#include "rl/presets.h"

namespace luce {
namespace {

/// The base of the family: β = 0, as in TRL, needs no reference; above 0 the KL is in the loss.
PolicyGradientOptions grpo() {
  PolicyGradientOptions o;
  o.kl.place = "loss";
  o.kl.estimator = "k3";
  o.aggregation = "sequence_mean";
  return o;
}

PolicyGradientOptions dr_grpo() {
  PolicyGradientOptions o = grpo();
  o.advantage.scale_rewards = "none";
  o.aggregation = "fixed_length";
  return o;
}

PolicyGradientOptions bnpo() {
  PolicyGradientOptions o = grpo();
  o.aggregation = "token_mean";
  return o;
}

PolicyGradientOptions dapo() {
  PolicyGradientOptions o = bnpo();
  o.surrogate.epsilon_high = 0.28;
  return o;
}

PolicyGradientOptions gspo() {
  PolicyGradientOptions o = grpo();
  o.surrogate.importance_sampling_level = "sequence";
  o.surrogate.epsilon = 3e-4;
  o.surrogate.epsilon_high = 4e-4;
  return o;
}

PolicyGradientOptions luspo() {
  PolicyGradientOptions o = gspo();
  o.surrogate.epsilon = 2e-3;
  o.surrogate.epsilon_high = 2.5e-3;
  o.aggregation = "sequence_sum";
  return o;
}

PolicyGradientOptions cispo() {
  PolicyGradientOptions o = bnpo();
  o.surrogate.surrogate = "cispo";
  o.surrogate.clip = "high";
  o.surrogate.epsilon_high = 4;
  return o;
}

PolicyGradientOptions sapo() {
  PolicyGradientOptions o = grpo();
  o.surrogate.surrogate = "sapo";
  return o;
}

PolicyGradientOptions gmpo() {
  PolicyGradientOptions o = grpo();
  o.surrogate.surrogate = "gmpo";
  o.surrogate.epsilon = 0.4;
  return o;
}

PolicyGradientOptions vespo() {
  PolicyGradientOptions o = bnpo();
  o.surrogate.surrogate = "vespo";
  return o;
}

const char* const kGroupAdvantage =
    "A = (R - mean of the group) / (deviation of the group + 1e-4)\n";

}  // namespace

void add_grpo_family(Algorithms& all) {
  const std::string a = kGroupAdvantage;
  const std::string clip =
      "r = pi / pi_old at each token\nloss = -min(r A, clip(r, 1-eps, 1+eps_high) A)";
  all.add<PolicyGradient>(
      {.name = "grpo",
       .title = "Group relative policy optimization",
       .paper = "Shao et al. 2024, arXiv:2402.03300, eq. 3",
       .formula = a + clip +
                  " + beta * (exp(-d) + d - 1), d = log pi - log pi_ref\n"
                  "mean over the tokens of a completion, then over completions",
       .notes = "Tokens of short completions weigh more, and so do groups whose rewards differ "
                "little: dr_grpo has neither."},
      grpo());
  all.add<PolicyGradient>(
      {.name = "dr_grpo",
       .title = "GRPO done right",
       .paper = "Liu et al. 2025, arXiv:2503.20783",
       .formula = "A = R - mean of the group\n" + clip +
                  "\nsum over tokens / (completions * max_completion_length)",
       .notes = "On the first update the expected gradient is that of the mean reward times "
                "(K-1)/K over the length."},
      dr_grpo());
  all.add<PolicyGradient>(
      {.name = "bnpo",
       .title = "GRPO with a mean over tokens",
       .paper = "loss_type \"bnpo\" of TRL, named after Xiao et al. 2025, arXiv:2506.02864",
       .formula = a + clip + "\nmean over the tokens of the step",
       .notes =
           "All tokens weigh the same. The mean is over the optimizer step, however it is cut."},
      bnpo());
  all.add<PolicyGradient>(
      {.name = "dapo",
       .title = "Decoupled clip and dynamic sampling policy optimization",
       .paper = "Yu et al. 2025, arXiv:2503.14476, eq. 8",
       .formula = a + clip + ", eps_high = 0.28\nmean over the tokens of the step",
       .notes = "The loss of DAPO. Its dynamic sampling and its penalty of long answers belong to "
                "the rollout and the reward."},
      dapo());
  all.add<PolicyGradient>(
      {.name = "gspo",
       .title = "Group sequence policy optimization",
       .paper = "Zheng et al. 2025, arXiv:2507.18071, eq. 5",
       .formula = a + "s = exp(mean over the completion of log pi - log pi_old)\n"
                      "loss = -min(s A, clip(s, 1-eps, 1+eps_high) A)",
       .notes = "Whole completions are clipped. importance_sampling_level \"sequence_token\" is "
                "GSPO-token, for advantages that differ within a completion."},
      gspo());
  all.add<PolicyGradient>(
      {.name = "luspo",
       .title = "Length-unbiased sequence policy optimization",
       .paper = "arXiv:2602.05261",
       .formula = a + "loss = -|y| min(s A, clip(s, 1-eps, 1+eps_high) A), s as in gspo",
       .notes = "GSPO times the length of the completion."},
      luspo());
  all.add<PolicyGradient>(
      {.name = "cispo",
       .title = "Clipped importance sampling policy optimization",
       .paper = "MiniMax 2025, arXiv:2506.13585, eq. 4",
       .formula = a + "loss = -sg(min(r, 1+eps_high)) A log pi, sg: held constant",
       .notes = "No token loses its gradient. eps_high = 4 caps the weight at 5; TRL writes the "
                "cap itself as epsilon_high."},
      cispo());
  all.add<PolicyGradient>(
      {.name = "sapo",
       .title = "Soft adaptive policy optimization",
       .paper = "Gao et al. 2025, arXiv:2511.20347",
       .formula = a + "loss = -A sigmoid(tau (r - 1)) 4 / tau, tau = 1 where A > 0, else 1.05",
       .notes = "A smooth clip: the gradient's weight falls off on both sides of r = 1, where it "
                "is A."},
      sapo());
  all.add<PolicyGradient>(
      {.name = "gmpo",
       .title = "Geometric-mean policy optimization",
       .paper = "Zhao et al. 2025, arXiv:2507.20673",
       .formula = a + "loss = -A exp(mean over the completion of d), d = log pi - log pi_old\n"
                      "clipped to at most eps_high where A > 0, at least -eps elsewhere",
       .notes = "epsilon and epsilon_high are of log-ratios."},
      gmpo());
  all.add<PolicyGradient>(
      {.name = "vespo",
       .title = "Variational sequence-level soft policy optimization",
       .paper = "arXiv:2602.10693",
       .formula =
           a + "loss = -sg(phi) A log pi, phi = w^k exp(lambda (1 - w)), w = pi(y) / pi_old(y)",
       .notes = "k = 2, lambda = 3 where A >= 0, else k = 3, lambda = 2."},
      vespo());
}

}  // namespace luce
