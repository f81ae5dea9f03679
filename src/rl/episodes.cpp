// Rewards of a rollout as the estimators see them
//   R      the completion's reward, clipped to [lo, hi]
//   k_t    KL estimate of the policy that sampled to the reference
//   r_t    token: x_t − β k_t, and R on the last one      (x_t: earned on the way)
//          completion: R + Σ_t (x_t − β k_t), one action
//   whitened: (r − m) / √(s² + 1e-8) + m over all actions
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/rl/advantage.h"
#include "rl/moments.h"

namespace luce {

namespace {

void expect_size(size_t got, int64_t want, const char* list, const char* things) {
  if (got != static_cast<size_t>(want))
    throw ArgumentError(
        cat("[Advantages] the rollout has ", got, " ", list, " for ", want, " ", things));
}

void check_lists(const Rollout& x) {
  const int64_t completions = x.num_completions(), tokens = x.num_tokens();
  expect_size(x.rewards.size(), completions, "rewards", "completions");
  if (x.group.back() != completions)
    throw ArgumentError(cat("[Advantages] the groups of the rollout end at completion ",
                            x.group.back(), " of ", completions));
  for (const auto& part : x.reward_parts)
    expect_size(part.size(), completions, "rewards of one function", "completions");
  expect_size(x.reward_weights.size(), static_cast<int64_t>(x.reward_parts.size()),
              "weights of rewards", "reward functions");
  const auto optional = [&](size_t size, int64_t want, const char* list, const char* things) {
    if (size != 0) expect_size(size, want, list, things);
  };
  optional(x.token_rewards.size(), tokens, "rewards of tokens", "tokens");
  optional(x.truncated.size(), completions, "marks of truncation", "completions");
  optional(x.old_logps.size(), tokens, "log-probs", "tokens");
  optional(x.ref_logps.size(), tokens, "log-probs of the reference", "tokens");
  optional(x.values.size(), tokens, "values", "tokens");
  optional(x.greedy_rewards.size(), x.num_groups(), "rewards of greedy completions", "prompts");
  for (int64_t c = 0; c < completions; ++c)
    if (x.length(c) < 1) throw ArgumentError(cat("[Advantages] completion ", c, " has no token"));
}

/// What each token earned but for its completion's reward: x_t − β k_t.
std::vector<double> earned_on_the_way(const Rollout& rollout, const KlPenalty& penalty) {
  std::vector<double> earned = rollout.token_rewards;
  earned.resize(static_cast<size_t>(rollout.num_tokens()), 0);
  if (penalty.coefficient == 0) return earned;
  if (rollout.old_logps.size() != earned.size() || rollout.ref_logps.size() != earned.size())
    throw ArgumentError(
        "[Advantages] KL in the reward needs the log-probs of policy and reference");
  KlOptions options = penalty.kl;
  options.gradient = KlGradient::own;
  const Tensor k = kl_estimate(at::tensor(rollout.old_logps, at::kDouble),
                               at::tensor(rollout.ref_logps, at::kDouble), options);
  for (size_t t = 0; t < earned.size(); ++t)
    earned[t] -= penalty.coefficient * k.data_ptr<double>()[t];
  return earned;
}

/// Whitened without moving their mean.
void whiten(Episodes& e, const Rollout& rollout) {
  std::vector<double> counted;
  for (size_t c = 0; c < rollout.rewards.size(); ++c)
    if (!std::isnan(rollout.rewards[c]))
      counted.insert(counted.end(), e.rewards.begin() + e.offset[c],
                     e.rewards.begin() + e.offset[c + 1]);
  const Moments m = moments_of(counted);
  for (double& r : e.rewards)
    r = (r - m.mean) / std::sqrt(m.deviation * m.deviation + 1e-8) + m.mean;
}

}  // namespace

Episodes episodes_of(const Rollout& rollout, const AdvantageOptions& o, const KlPenalty& penalty) {
  check_lists(rollout);
  const bool by_token = o.action == "token";
  const std::vector<double> earned = earned_on_the_way(rollout, penalty);
  Episodes e;
  e.offset = {0};
  for (int64_t c = 0; c < rollout.num_completions(); ++c) {
    const auto begin = static_cast<size_t>(rollout.offset[static_cast<size_t>(c)]);
    const auto end = begin + static_cast<size_t>(rollout.length(c));
    double reward = rollout.rewards[static_cast<size_t>(c)];
    const bool counted = !std::isnan(reward);
    if (o.reward_clip_range)
      reward = std::clamp(reward, o.reward_clip_range->front(), o.reward_clip_range->back());
    if (!by_token) e.rewards.push_back(0);
    for (size_t t = begin; t < end; ++t) {
      if (by_token) e.rewards.push_back(0);
      if (counted) e.rewards.back() += earned[t];
      if (!rollout.values.empty() && (by_token || t == begin))
        e.values.push_back(rollout.values[t]);
    }
    if (counted) e.rewards.back() += reward;
    e.offset.push_back(static_cast<int64_t>(e.rewards.size()));
  }
  if (o.whiten_rewards) whiten(e, rollout);
  const std::vector<double> to_go = rewards_to_go(e.offset, e.rewards, o.gamma);
  for (size_t c = 0; c + 1 < e.offset.size(); ++c)
    e.totals.push_back(std::isnan(rollout.rewards[c]) ? NAN
                                                      : to_go[static_cast<size_t>(e.offset[c])]);
  return e;
}

std::vector<double> rewards_to_go(const std::vector<int64_t>& offset, const std::vector<double>& x,
                                  double c) {
  std::vector<double> sums = x;
  for (size_t episode = 0; episode + 1 < offset.size(); ++episode)
    for (int64_t t = offset[episode + 1] - 2; t >= offset[episode]; --t)
      sums[static_cast<size_t>(t)] += c * sums[static_cast<size_t>(t) + 1];
  return sums;
}

// High-dimensional continuous control using GAE, arXiv:1506.02438 eq. 16
//   δ_t = r_t + γ V_{t+1} − V_t      A_t = δ_t + γλ A_{t+1}
std::vector<double> generalised_advantages(const Episodes& e, double gamma, double lambda) {
  std::vector<double> delta = e.rewards;
  for (size_t episode = 0; episode + 1 < e.offset.size(); ++episode)
    for (auto t = static_cast<size_t>(e.offset[episode]);
         t < static_cast<size_t>(e.offset[episode + 1]); ++t) {
      const bool last = t + 1 == static_cast<size_t>(e.offset[episode + 1]);
      delta[t] += gamma * (last ? 0 : e.values[t + 1]) - e.values[t];
    }
  return rewards_to_go(e.offset, delta, gamma * lambda);
}

}  // namespace luce
