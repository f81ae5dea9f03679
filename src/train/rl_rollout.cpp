// What a rollout is given before it is trained on: log-probs of the policy that began with it and
// of the reference, values, weights for samples of another policy, advantages.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "luce/train/rl_task.h"
#include "train/rl_values.h"

namespace luce {

void RlTask::begin(CollectedRollout collected, Metrics& metrics) {
  collected_ = std::move(collected);
  metrics.merge(collected_.metrics);
  drop_stale(metrics);
  std::vector<double> weights;
  for (const auto& reward : rollouts_->source().rewards().functions())
    weights.push_back(reward.weight);
  rollout_ = collected_.flat(weights);
  score_rollout();
  set_importance(metrics);
  advantages_ = algorithm_->advantages(rollout_, metrics);
  algorithm_->observe(rollout_);
}

void RlTask::drop_stale(Metrics& metrics) {
  for (auto& group : collected_.groups)
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const int64_t age = collected_.index - group.samples[i].version;
      metrics.add("sampling/staleness", static_cast<double>(age), 1);
      const bool is_stale = age > options_.max_staleness;
      metrics.add("sampling/stale", is_stale ? 1 : 0, 1);
      if (is_stale) group.rewards[i] = NAN;
    }
}

void RlTask::score_rollout() {
  const at::NoGradGuard no_grad;
  const AlgorithmNeeds needs = algorithm_->needs();
  std::vector<double> sampled;
  bool has_logps = true;
  for (const auto& group : collected_.groups)
    for (const Sample& sample : group.samples) {
      has_logps = has_logps && sample.tempered.size() == sample.ids.size();
      if (has_logps)
        append_range(sampled, sample.tempered, 0, static_cast<int64_t>(sample.tempered.size()));
    }
  // The weights that sampled are those that are trained: the sampler's log-probs are the old ones.
  is_on_policy_ = has_logps && !rollouts_->is_ahead();
  if (is_on_policy_) rollout_.old_logps = std::move(sampled);
  if (is_on_policy_ && !needs.reference && !needs.values) return;

  const auto m = as_index(rollout_.num_tokens());
  if (!is_on_policy_) rollout_.old_logps.assign(m, 0);
  if (needs.reference) rollout_.ref_logps.assign(m, 0);
  if (needs.values) rollout_.values.assign(m, 0);
  std::vector<int64_t> all;
  for (size_t q = 0; q < collected_.groups.size(); ++q) all.push_back(static_cast<int64_t>(q));
  const auto pieces = pieces_of(all);
  HeadOptions options = head_options();
  options.entropy = false;
  for (const auto& some : micro_batches(pieces)) {
    const Batch batch = batch_of(some);
    std::vector<int64_t> completions;
    for (const Piece* piece : some)
      completions.insert(completions.end(), piece->completions.begin(), piece->completions.end());
    const auto keep = [&](const Tensor& values, std::vector<double>& into) {
      const Tensor host = values.to(at::kCPU, at::kDouble).contiguous();
      const double* from = host.const_data_ptr<double>();
      for (const int64_t c : completions) {
        const int64_t n = rollout_.length(c);
        std::copy_n(from, n, into.begin() + rollout_.offset[as_index(c)]);
        from += n;
      }
    };
    const auto logps = [&](const Tensor& hidden, const Tensor& weight) {
      return head(hidden, weight, batch.targets, options).logps;
    };
    if (needs.reference)
      keep(logps(reference_->hidden(batch), reference_->head_weight()), rollout_.ref_logps);
    const bool reads_policy = !is_on_policy_ || (needs.values && critic_->shares_trunk());
    const Tensor hidden = reads_policy ? policy_.forward(batch).hidden : Tensor();
    if (!is_on_policy_) keep(logps(hidden, policy_.model().head_weight()), rollout_.old_logps);
    if (needs.values) keep(critic_->values(batch, hidden), rollout_.values);
  }
}

void RlTask::set_importance(Metrics& metrics) {
  importance_.clear();
  const auto& o = options_.importance;
  const bool by_token = o.mode.starts_with("token"), clamps = o.mode.ends_with("truncate");
  if (o.mode != "off") importance_.assign(as_index(rollout_.num_tokens()), 1);
  int64_t c = 0;
  double largest_gap = 0, least = INFINITY, most = 0;
  for (const auto& group : collected_.groups)
    for (const Sample& sample : group.samples) {
      const int64_t begin = rollout_.offset[as_index(c++)];
      double sum = 0;
      std::vector<double> gap;
      for (size_t t = 0; t < sample.drawn.size(); ++t) {
        gap.push_back(rollout_.old_logps[as_index(begin) + t] - sample.drawn[t]);
        sum += gap.back();
        metrics.add("sampling/sampling_logp_difference/mean", std::abs(gap.back()), 1);
        largest_gap = std::max(largest_gap, std::abs(gap.back()));
      }
      for (size_t t = 0; t < gap.size(); ++t) {
        const double raw = std::exp(by_token ? gap[t] : sum);
        const bool inside = raw >= o.least && raw <= o.most;
        const double ratio = clamps ? std::clamp(raw, o.least, o.most) : inside ? raw : 0;
        if (o.mode == "off" || (!by_token && t > 0)) {
          if (o.mode != "off") importance_[as_index(begin) + t] = ratio;
          continue;
        }
        importance_[as_index(begin) + t] = ratio;
        metrics.add("sampling/importance_sampling_ratio/mean", ratio, 1);
        least = std::min(least, ratio);
        most = std::max(most, ratio);
      }
    }
  metrics.set("sampling/sampling_logp_difference/max", largest_gap);
  if (most > 0 || std::isfinite(least)) {
    metrics.set("sampling/importance_sampling_ratio/min", least);
    metrics.set("sampling/importance_sampling_ratio/max", most);
  }
}

}  // namespace luce
