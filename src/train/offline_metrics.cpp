// The metrics of docs/metrics.md, and what must hold before the first update.
#include "train/offline_metrics.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/loss/kl.h"
#include "luce/train/offline_task.h"

namespace luce {
namespace {

double total(const Tensor& t) { return t.sum(at::kDouble).item<double>(); }

}  // namespace

void add_gradient_weights(const GroupInputs& x, const Tensor& d_logps, double divisor,
                          Metrics& metrics) {
  const Tensor w = (TokenValues{d_logps, x.logps.offset}.mean() * divisor).to(at::kCPU);
  const double* weight = w.const_data_ptr<double>();
  for (size_t c = 0; c < x.role.size(); ++c) {
    if (x.role[c] == Role::chosen) metrics.sample("weights/chosen", -weight[c]);
    if (x.role[c] == Role::rejected) metrics.sample("weights/rejected", weight[c]);
  }
}

void SftTask::record(const GroupInputs& x, const HeadStats& stats, Metrics& metrics) const {
  const auto tokens = static_cast<double>(x.logps.offset.back());
  metrics.add("entropy", total(stats.entropy), tokens);
  metrics.add("mean_token_accuracy", total(stats.greedy_match), tokens);
}

void PreferenceTask::record(const GroupInputs& x, const HeadStats& stats, Metrics& metrics) const {
  const Tensor sums = x.logps.sum(), lengths = x.logps.length();
  const Tensor logits = TokenValues{stats.mean_logit, x.logps.offset}.sum();
  const Tensor hits = TokenValues{stats.greedy_match, x.logps.offset}.sum();
  const Tensor entropy = TokenValues{stats.entropy, x.logps.offset}.sum();
  const Tensor rewards = loss().rewards(x);
  const auto add = [&](const std::string& name, const Tensor& values, const Tensor& of,
                       double count) {
    metrics.add(name, total(values.index_select(0, of)), count);
  };
  for (const auto& [name, role] :
       {std::pair{"chosen", Role::chosen}, std::pair{"rejected", Role::rejected},
        std::pair{"ranked", Role::ranked}}) {
    const Tensor of = x.with_role(role);
    const auto answers = static_cast<double>(of.numel());
    if (answers == 0) continue;
    const double tokens = total(lengths.index_select(0, of));
    add(cat("logps/", name), sums, of, answers);
    add(cat("logits/", name), logits, of, tokens);
    add(cat("completions/", name, "_length"), lengths, of, answers);
    if (rewards.defined()) add(cat("rewards/", name), rewards, of, answers);
    add("entropy", entropy, of, tokens);
    if (role != Role::rejected) add("mean_token_accuracy", hits, of, tokens);
  }
  if (!rewards.defined()) return;
  const Tensor w = x.with_role(Role::chosen), l = x.with_role(Role::rejected);
  if (w.numel() != l.numel() || w.numel() != x.num_groups()) return;  // the rows are no pairs
  const Tensor margin = rewards.index_select(0, w) - rewards.index_select(0, l);
  metrics.add("rewards/margins", total(margin), static_cast<double>(w.numel()));
  metrics.add("rewards/accuracies", total(margin.gt(0)),  // a tie counts as wrong
              static_cast<double>(w.numel()));
}

void OfflineTask::record_kl_estimates(const GroupInputs& x, Metrics& metrics) const {
  if (!x.ref_logps) return;
  const Tensor logps = x.logps.values.detach().to(at::kDouble),
               ref = x.ref_logps->values.to(at::kDouble);
  for (const auto& [name, estimator] :
       {std::pair{"kl_data_k1", KlEstimator::k1}, std::pair{"kl_data_k2", KlEstimator::k2},
        std::pair{"kl_data_k3", KlEstimator::k3}})
    metrics.add(name, total(kl_estimate(logps, ref, {.estimator = estimator})),
                static_cast<double>(logps.numel()));
}

void OfflineTask::record_displacement(const GroupInputs& x, Metrics& metrics) const {
  if (probe_ || !x.ref_logps || !frozen_.is_start || options_.sync_steps > 0) return;
  const Tensor w = x.with_role(Role::chosen), l = x.with_role(Role::rejected);
  if (w.numel() != l.numel() || w.numel() != x.num_groups()) return;  // the rows are no pairs
  const Tensor shift = x.logps.sum() - x.ref_logps->sum();
  const Tensor chosen = shift.index_select(0, w), rejected = shift.index_select(0, l);
  const auto pairs = static_cast<double>(w.numel());
  metrics.add("displacement/chosen", total(chosen), pairs);
  metrics.add("displacement/rejected", total(rejected), pairs);
  metrics.add("displacement/both_fell", total(chosen.lt(0).logical_and(rejected.lt(0))), pairs);
}

void OfflineTask::check_start(const GroupInputs& x, const std::vector<int64_t>& rows) const {
  if (!frozen_.is_start || !x.ref_logps) return;
  const double per_token = policy_dtype() == at::kBFloat16 ? 2e-2 : 1e-4;
  const Tensor gap = (x.logps.sum().detach() - x.ref_logps->sum()).abs().to(at::kCPU);
  const auto group_of = x.group_of();
  for (size_t c = 0; c < x.role.size(); ++c) {
    const double off = gap[static_cast<int64_t>(c)].item<double>();
    const double bound = per_token * static_cast<double>(x.logps.offset[c + 1] - x.logps.offset[c]);
    if (!(off <= bound))
      throw SanityError(
          cat("before the first update policy and reference are the same weights, so "
              "every log-ratio must be 0; an answer of row ",
              rows[static_cast<size_t>(group_of[c])], " has one of ", off,
              ", above the rounding error of ", bound,
              ". If the reference differs on purpose, name its folder in "
              "reference.path; cached log-probs of another model are removed by "
              "emptying data.cache_dir"));
  }
}

}  // namespace luce
