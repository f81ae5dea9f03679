// Preferences that no reward explains: a cycle, a mixture of raters, two opposite ones.
#include <ATen/ATen.h>

#include <algorithm>

#include "experiment/dpo_and_rlhf.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/ipo.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"

namespace luce::dpo_rlhf {

using namespace oracle;

namespace {

/// One table of preferences, and what every method makes of it under a penalty of strength τ.
struct Case {
  Tensor log_ref, preference;

  PairPopulation pairs(bool uniform) const {
    return population(preference,
                      uniform ? uniform_pairs(log_ref.numel()) : independent_pairs(log_ref.exp()));
  }
  Tensor reward(bool uniform) const {
    return fitted_reward(pairs(uniform), at::eye(log_ref.numel(), at::kDouble));
  }
  Tensor rlhf(bool uniform, double tau) const {
    return KlObjective{log_ref, reward(uniform), tau}.log_optimum();
  }
  Tensor dpo(bool uniform, double tau) const {
    return fitted_policy(Dpo({.beta = tau}), pairs(uniform), log_ref).x;
  }
  Tensor ipo(bool uniform, double tau) const {
    return fitted_policy(Ipo({.beta = tau}), pairs(uniform), log_ref).x;
  }
  Tensor nash(double tau) const { return regularised_nash(log_ref, preference, tau); }
  Tensor self_play(int rounds) const {
    return averaged_self_play(preference, log_ref.exp(), 0.5, rounds).log();
  }
  /// How often the policy is preferred to the answer that beats it most.
  double least_win_rate(const Tensor& log_p) const {
    return log_p.exp().matmul(preference).min().item<double>();
  }
};

struct Row {
  std::string name, pairs, key;
  Tensor policy[2];  // in the two settings of a table
};

Json figures_of(const Row& row, const Case& first, const Case& second) {
  return {{"policy", {numbers_of(row.policy[0].exp()), numbers_of(row.policy[1].exp())}},
          {"least_win_rate",
           {first.least_win_rate(row.policy[0]), second.least_win_rate(row.policy[1])}}};
}

/// Every method in two settings: (case, τ) each.
std::vector<Row> methods(const Case& a, double tau_a, const Case& b, double tau_b, int rounds) {
  std::vector<Row> rows;
  for (const bool uniform : {true, false}) {
    const std::string pairs = uniform ? "every two alike" : "from \u03c0_ref";
    const std::string key = uniform ? "uniform" : "reference";
    rows.push_back(
        {"RLHF", pairs, "rlhf_" + key, {a.rlhf(uniform, tau_a), b.rlhf(uniform, tau_b)}});
    rows.push_back({"DPO", pairs, "dpo_" + key, {a.dpo(uniform, tau_a), b.dpo(uniform, tau_b)}});
    rows.push_back({"IPO", pairs, "ipo_" + key, {a.ipo(uniform, tau_a), b.ipo(uniform, tau_b)}});
  }
  rows.push_back({"regularised Nash", "\u2013", "nash", {a.nash(tau_a), b.nash(tau_b)}});
  rows.push_back({"averaged self-play, no penalty",
                  "\u2013",
                  "self_play",
                  {a.self_play(rounds), b.self_play(rounds)}});
  return rows;
}

Table table_of(const std::string& title, const std::string& first, const std::string& second,
               const std::string& note, const std::vector<Row>& rows, const Case& a,
               const Case& b) {
  Table table{
      title, {"method", "pairs", first, "least win rate", second, "least win rate"}, {}, note};
  for (const Row& row : rows)
    table.rows.push_back({row.name, row.pairs, shares(row.policy[0]),
                          fixed(a.least_win_rate(row.policy[0])), shares(row.policy[1]),
                          fixed(b.least_win_rate(row.policy[1]))});
  return table;
}

/// odds(1 ≻ 2) · odds(2 ≻ 3) / odds(1 ≻ 3): 1 under Bradley–Terry.
double quotient(const Tensor& preference) {
  const Tensor odds = preference / (1 - preference);
  return (odds[0][1] * odds[1][2] / odds[0][2]).item<double>();
}

}  // namespace

Part broken_bradley_terry(const ExperimentOptions& options) {
  const Tensor log_ref = numbers({0.6, 0.3, 0.1}).log();
  const int rounds = options.quick ? 1000 : 4000;
  Part part;

  const Case cycle{log_ref, numbers({0.5, 1, 0, 0, 0.5, 1, 1, 0, 0.5}).view({3, 3})};
  const auto on_cycle = methods(cycle, 1, cycle, 0.1, rounds);
  part.tables.push_back(
      table_of("A cycle: 1 \u227b 2 \u227b 3 \u227b 1, each for certain", "\u03c0 at \u03c4 = 1",
               "\u03c0 at \u03c4 = 0.1",
               "\u03c0_ref = (0.6, 0.3, 0.1); \u03c4 is the strength of the penalty, \u03b2 of "
               "DPO. Least win rate: "
               "against the answer that beats the policy most; 0.5 cannot be exceeded.",
               on_cycle, cycle, cycle));
  for (const Row& row : on_cycle) part.figures["cycle"][row.key] = figures_of(row, cycle, cycle);

  const double tau = 0.5;
  const Tensor rewards = numbers({2, 0, -1, -2, 1, 0}).view({2, 3}), share = numbers({0.6, 0.4});
  const Tensor r = numbers({2, 0, -1});
  const Case mixed{log_ref, mixture(share, rewards)};
  const Case opposite{log_ref, mixture(numbers({0.5, 0.5}), at::stack({r, -r}))};
  auto on_raters = methods(mixed, tau, opposite, tau, rounds);
  const Tensor mean = share.matmul(rewards);
  on_raters.push_back({"RL on the raters' mean reward",
                       "\u2013",
                       "mean_reward",
                       {KlObjective{log_ref, mean, tau}.log_optimum(),
                        KlObjective{log_ref, at::zeros_like(mean), tau}.log_optimum()}});
  part.tables.push_back(table_of(
      "Two raters, \u03c4 = 0.5", "\u03c0, raters who differ", "\u03c0, opposite raters",
      "Raters who differ: rewards (2, 0, \u22121) for 60% of the labels, (\u22122, 1, 0) for 40%; "
      "opposite: (2, 0, \u22121) and (\u22122, 0, 1), half each. \u03c0_ref = (0.6, 0.3, 0.1).",
      on_raters, mixed, opposite));
  for (const Row& row : on_raters)
    part.figures["raters"][row.key] = figures_of(row, mixed, opposite);
  const double odds = quotient(mixed.preference);
  part.figures["raters"]["odds_quotient"] = odds;
  part.figures["raters"]["fitted_reward_uniform"] = numbers_of(mixed.reward(true));
  part.figures["raters"]["fitted_reward_reference"] = numbers_of(mixed.reward(false));
  part.figures["raters"]["mean_reward"] = numbers_of(mean);

  double apart = 0;  // DPO and RLHF on the same pairs
  for (const std::vector<Row>& rows : {on_cycle, on_raters})
    for (const size_t rlhf : {0, 3})
      for (const int setting : {0, 1})
        apart = std::max(apart, deviation(rows[rlhf].policy[setting].exp(),
                                          rows[rlhf + 1].policy[setting].exp()));
  part.figures["dpo_to_rlhf"] = apart;
  part.answer = cat(
      "Without Bradley\u2013Terry the two still agree with each other (", residual(apart),
      "), since DPO is the reward model's loss in other letters; what is lost is that either is "
      "the "
      "optimum of anything the raters want. On a cycle with even pairs RLHF, DPO and IPO stay at "
      "\u03c0_ref, with pairs from \u03c0_ref they go elsewhere; self-play finds ",
      shares(on_cycle.back().policy[0]), " and the regularised fixed points are ",
      shares(on_cycle[6].policy[0]), " and ", shares(on_cycle[6].policy[1]),
      ". Two raters who differ break the product of odds by a factor ", fixed(odds),
      "; two opposite ones leave every method at \u03c0_ref.");
  return part;
}

}  // namespace luce::dpo_rlhf
