// Advantages: how much better a rollout's actions went than expected. Everything is on the host, in
// f64, and seen once a rollout.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "luce/base/schema.h"
#include "luce/loss/kl.h"
#include "luce/rl/rollout.h"

namespace luce {

struct AdvantageOptions {
  std::string estimator = "group";  // key "advantage"; what is subtracted, see src/rl/advantage.cpp
  std::string action = "completion";  // or "token"
  double gamma = 1, lam = 0.95;
  std::string scale_rewards = "group";
  std::string multi_objective_aggregation = "sum_then_normalize";
  double baseline_decay = 0.95;
  std::optional<std::vector<double>> reward_clip_range = {};
  bool whiten_rewards = false, whiten_advantages = false, normalize_advantages = false;
  bool mask_truncated_completions = false;

  bool needs_values() const { return estimator == "gae" || estimator == "value"; }
};

void describe(Schema& s, AdvantageOptions& o);

/// Throws ArgumentError on options that contradict each other.
void check(const AdvantageOptions& options);

/// The KL to the reference that is subtracted from rewards: coefficient · estimate at every token.
struct KlPenalty {
  double coefficient = 0;  // 0: there is none
  KlOptions kl = {};       // of its gradient nothing is used
};

/// A rollout as an algorithm acts in it. The action is a token, or a completion as a whole.
struct Episodes {
  std::vector<int64_t> offset;  // [C+1] completion c owns actions [offset[c], offset[c+1])
  std::vector<double> rewards;  // [A] shaped; 0 in completions without a reward
  std::vector<double> values;   // [A] V of the state of each action; empty without
  std::vector<double> totals;   // [C] Σ_t γ^t r_t; NaN in completions without a reward
};

/// Rewards as the estimators see them: clipped, with their KL penalty, whitened. Throws
/// ArgumentError where the rollout's lists do not fit each other.
Episodes episodes_of(const Rollout& rollout, const AdvantageOptions& options,
                     const KlPenalty& penalty);

/// G_t = x_t + c x_{t+1} + c² x_{t+2} + … within each episode: [A], as `x`.
std::vector<double> rewards_to_go(const std::vector<int64_t>& offset, const std::vector<double>& x,
                                  double c);

/// Generalised advantages of rewards and values, [A] each; behind an episode's end V is 0.
std::vector<double> generalised_advantages(const Episodes& episodes, double gamma, double lambda);

/// Advantages at every token. `baseline` is what "moving" subtracts. Completions without a reward
/// take no part: their advantages are 0, and no mean counts them. Completions whose rewards are all
/// equal have advantages of exactly 0 where the group is compared. Throws ArgumentError where the
/// rollout lacks what the estimator needs.
Advantages estimate_advantages(const Rollout& rollout, const AdvantageOptions& options,
                               const KlPenalty& penalty = {}, double baseline = 0);

}  // namespace luce
