// Advantages of rollouts, from rewards r_t of actions and G_t = r_t + γ G_{t+1}; R_i = G_0 of
// completion i, n completions of its group with a reward
//   gae            A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ V_{t+1} − V_t       arXiv:1506.02438 eq.
//   16 value          A = G − V leave_one_out  A = G − Σ_{j≠i} R_j / (n − 1) RLOO, arXiv:2402.14740
//   group          A = (G − m) / (s + 1e-4), m = Σ_j R_j / n       GRPO, arXiv:2402.03300; s of the
//                  group, of the batch, or no division (arXiv:2503.20783)
//   group_mean     A = G − m
//   moving         A = G − b, b the running mean of R over earlier rollouts
//   greedy         A = G − reward of the greedy completion         ReMax, arXiv:2310.10505
//   none           A = G
//   normalize_then_sum  z = Σ_k w_k (R_k − m_k) / (s_k + 1e-4) of each reward function in its
//   group,
//                  A = (z − mean) / (deviation + 1e-4) over the batch        GDPO, arXiv:2601.05242
// and at last (A − mean) / √(s² + 1e-8) (whiten) or (A − mean) / (s + 1e-4) (normalize).
#include "luce/rl/advantage.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "rl/moments.h"

namespace luce {
namespace {

constexpr double kDeviationFloor = 1e-4, kVarianceFloor = 1e-8;

/// A = factor · (G − baseline) in all of a completion.
struct Comparison {
  double baseline = 0, factor = 1;
  bool alone = false;  // no other completion to compare with: A = 0, and no mean counts it
};

/// Equal rewards have a deviation of 0, and nothing to tell apart.
double scale_of(double deviation) { return deviation > 0 ? 1 / (deviation + kDeviationFloor) : 0; }

using Totals = std::vector<double>;

/// Σ_k w_k (R_k − m_k) / (s_k + 1e-4), NaN without a reward.
Totals normalised_parts(const Rollout& rollout) {
  if (rollout.reward_parts.empty())
    throw ArgumentError(
        "[Advantages] normalize_then_sum needs what each reward function gave (reward_parts)");
  for (const double x : rollout.token_rewards)
    if (x != 0)
      throw UsageError(
          "multi_objective_aggregation \"normalize_then_sum\" standardises rewards of whole "
          "completions, and there are rewards of steps: use \"sum_then_normalize\"");
  Totals z(rollout.rewards.size(), 0);
  for (size_t k = 0; k < rollout.reward_parts.size(); ++k)
    for (size_t q = 0; q + 1 < rollout.group.size(); ++q) {
      Totals of_group;
      for (auto c = static_cast<size_t>(rollout.group[q]);
           c < static_cast<size_t>(rollout.group[q + 1]); ++c)
        of_group.push_back(std::isnan(rollout.rewards[c]) ? NAN : rollout.reward_parts[k][c]);
      const Moments m = moments_of(of_group);
      for (size_t i = 0; i < of_group.size(); ++i)
        if (!std::isnan(of_group[i]))
          z[static_cast<size_t>(rollout.group[q]) + i] +=
              rollout.reward_weights[k] * scale_of(m.deviation) * (of_group[i] - m.mean);
    }
  for (size_t c = 0; c < z.size(); ++c)
    if (std::isnan(rollout.rewards[c])) z[c] = NAN;
  return z;
}

/// The mean of the others: the group's mean without this one.
Comparison leave_one_out(const Moments& m, double own) {
  return {m.mean + (m.mean - own) / (m.count - 1), 1};
}

bool compares_groups(const AdvantageOptions& o) {
  return o.estimator == "leave_one_out" || o.estimator == "group" || o.estimator == "group_mean";
}

double clipped(double reward, const AdvantageOptions& o) {
  return o.reward_clip_range
             ? std::clamp(reward, o.reward_clip_range->front(), o.reward_clip_range->back())
             : reward;
}

/// What each completion is compared with, by its group. `totals` is [C].
std::vector<Comparison> compare(const Rollout& rollout, const Totals& totals,
                                const AdvantageOptions& o, double running) {
  std::vector<Comparison> out;
  const Moments batch = moments_of(totals);
  for (size_t q = 0; q + 1 < rollout.group.size(); ++q) {
    const Moments m =
        moments_of({totals.begin() + rollout.group[q], totals.begin() + rollout.group[q + 1]});
    for (auto c = static_cast<size_t>(rollout.group[q]);
         c < static_cast<size_t>(rollout.group[q + 1]); ++c) {
      if (compares_groups(o) && m.count < 2)
        out.push_back({0, 0, true});
      else if (o.estimator == "leave_one_out")
        out.push_back(leave_one_out(m, totals[c]));
      else if (o.estimator == "group_mean" || (o.estimator == "group" && o.scale_rewards == "none"))
        out.push_back({m.mean, 1});
      else if (o.estimator == "group")
        out.push_back(
            {m.mean, scale_of(o.scale_rewards == "group" ? m.deviation : batch.deviation)});
      else if (o.estimator == "moving")
        out.push_back({running, 1});
      else if (o.estimator == "greedy")
        out.push_back({clipped(rollout.greedy_rewards[q], o), 1});
      else
        out.push_back({});
    }
  }
  return out;
}

/// Standardises the advantages of the completions that are marked.
void standardise(std::vector<double>& a, const Episodes& e, const std::vector<bool>& marked,
                 bool whiten) {
  std::vector<double> values;
  for (size_t c = 0; c < marked.size(); ++c)
    if (marked[c])
      values.insert(values.end(), a.begin() + e.offset[c], a.begin() + e.offset[c + 1]);
  const Moments m = moments_of(values);
  const double s = m.deviation;
  const double scale = whiten ? std::sqrt(s * s + kVarianceFloor) : s + kDeviationFloor;
  for (size_t c = 0; c < marked.size(); ++c)
    for (auto t = static_cast<size_t>(e.offset[c]); t < static_cast<size_t>(e.offset[c + 1]); ++t)
      if (marked[c]) a[t] = (a[t] - m.mean) / scale;
}

/// Values of actions, [A], at every token, [M]; `without` in completions that do not count.
std::vector<double> at_tokens(const std::vector<double>& x, const Rollout& rollout,
                              const Episodes& e, const std::vector<double>& without) {
  std::vector<double> out = without;
  for (size_t c = 0; c < e.totals.size(); ++c)
    for (int64_t t = 0; t < rollout.length(static_cast<int64_t>(c)); ++t)
      if (!std::isnan(e.totals[c]))
        out[static_cast<size_t>(rollout.offset[c] + t)] =
            x[static_cast<size_t>(std::min(e.offset[c] + t, e.offset[c + 1] - 1))];
  return out;
}

void expect_inputs(const Rollout& rollout, const AdvantageOptions& o) {
  if (o.needs_values() && rollout.values.empty() && rollout.num_tokens() > 0)
    throw ArgumentError(cat("[Advantages] \"", o.estimator, "\" needs values of every token"));
  if (o.estimator == "greedy" && rollout.greedy_rewards.empty() && rollout.num_groups() > 0)
    throw ArgumentError("[Advantages] \"greedy\" needs the reward of each greedy completion");
  if (o.mask_truncated_completions && rollout.truncated.empty() && rollout.num_completions() > 0)
    throw ArgumentError(
        "[Advantages] mask_truncated_completions needs to know which completions are truncated");
}

/// Completions that lost what they are compared with take no part either.
void leave_without_greedy(const Rollout& rollout, Episodes& e) {
  for (size_t q = 0; q + 1 < rollout.group.size(); ++q)
    if (std::isnan(rollout.greedy_rewards[q]))
      std::fill(e.totals.begin() + rollout.group[q], e.totals.begin() + rollout.group[q + 1], NAN);
}

}  // namespace

Advantages estimate_advantages(const Rollout& rollout, const AdvantageOptions& o,
                               const KlPenalty& penalty, double baseline) {
  expect_inputs(rollout, o);
  Episodes e = episodes_of(rollout, o, penalty);
  if (o.estimator == "greedy") leave_without_greedy(rollout, e);
  std::vector<double> to_go = rewards_to_go(e.offset, e.rewards, o.gamma), a = to_go;
  std::vector<bool> compared;
  for (const double total : e.totals) compared.push_back(!std::isnan(total));
  if (o.multi_objective_aggregation == "normalize_then_sum") {
    const Totals z = normalised_parts(rollout);  // one action a completion: see check
    const Moments m = moments_of(z);
    for (size_t c = 0; c < z.size(); ++c) a[c] = scale_of(m.deviation) * (z[c] - m.mean);
  } else if (o.estimator == "gae") {
    a = generalised_advantages(e, o.gamma, o.lam);
    to_go = a;  // the returns: A + V, before anything is standardised
    for (size_t t = 0; t < a.size(); ++t) to_go[t] += e.values[t];
  } else if (o.estimator == "value") {
    for (size_t t = 0; t < a.size(); ++t) a[t] -= e.values[t];
  } else {
    const std::vector<Comparison> with = compare(rollout, e.totals, o, baseline);
    for (size_t c = 0; c < with.size(); ++c) {
      compared[c] = compared[c] && !with[c].alone;
      for (auto t = static_cast<size_t>(e.offset[c]); t < static_cast<size_t>(e.offset[c + 1]); ++t)
        a[t] = with[c].factor * (a[t] - with[c].baseline);
    }
  }
  if (o.whiten_advantages || o.normalize_advantages)
    standardise(a, e, compared, o.whiten_advantages);

  Advantages out;
  out.advantages =
      at_tokens(a, rollout, e, std::vector<double>(static_cast<size_t>(rollout.num_tokens()), 0));
  if (o.needs_values()) out.returns = at_tokens(to_go, rollout, e, rollout.values);
  for (size_t c = 0; c < e.totals.size(); ++c) {
    out.counted.push_back(!std::isnan(e.totals[c]));
    out.trained.push_back(out.counted[c] &&
                          !(o.mask_truncated_completions && rollout.truncated[c]));
  }
  return out;
}

}  // namespace luce
