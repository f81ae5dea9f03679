#include "rl/token_metrics.h"

#include <ATen/ATen.h>

#include "luce/rl/surrogate.h"

namespace luce {

TokenMetrics::TokenMetrics(const PolicyInputs& inputs, const std::string& level) : inputs_(inputs) {
  const Tensor& like = inputs.logps.values;
  trained_ = inputs.weights.defined() ? inputs.weights.ne(0).to(at::kDouble)
                                      : at::ones_like(like, at::kDouble).detach();
  std::vector<int64_t> starts;
  const auto& offset = inputs.logps.offset;
  for (size_t c = 0; c + 1 < offset.size(); ++c)
    if (offset[c] < offset[c + 1]) starts.push_back(offset[c]);
  first_ = at::zeros_like(trained_)
               .index_fill(0, at::tensor(starts, at::kLong).to(like.device()), 1)
               .mul(trained_);
  unit_ = level == "token" ? trained_ : first_;
}

void TokenMetrics::add_masked(const std::string& name, const Tensor& x, const Tensor& mask) {
  names_.push_back(name);
  sums_.push_back((x.detach().to(at::kDouble) * mask).sum());
  sums_.push_back(mask.sum());
}
void TokenMetrics::add(const std::string& name, const Tensor& x) { add_masked(name, x, unit_); }
void TokenMetrics::add_each_token(const std::string& name, const Tensor& x) {
  add_masked(name, x, trained_);
}
void TokenMetrics::add_each_completion(const std::string& name, const Tensor& x) {
  add_masked(name, x, first_);
}

/// Σ x over the trained tokens of each completion that has some, over their number.
Tensor TokenMetrics::share_of_completions(const Tensor& x) const {
  const auto& offset = inputs_.logps.offset;
  const Tensor count = TokenValues{trained_, offset}.sum();
  const Tensor share = TokenValues{x * trained_, offset}.sum() / count;
  return share.masked_select(count.gt(0));
}

void TokenMetrics::add_clipped(const Tensor& ratio, double low, double high, Metrics& metrics) {
  const Tensor below = ratio.lt(low).logical_and(inputs_.advantages.lt(0)).to(at::kDouble),
               above = ratio.gt(high).logical_and(inputs_.advantages.gt(0)).to(at::kDouble);
  add("clip_ratio/low_mean", below);
  add("clip_ratio/high_mean", above);
  add("clip_ratio/region_mean", below + above);
  add("policy/clipfrac_avg", below + above);
  const Tensor low_share = share_of_completions(below), high_share = share_of_completions(above);
  if (low_share.numel() == 0) return;
  metrics.add("clip_ratio/low_min", low_share.min().item<double>(), 1);
  metrics.add("clip_ratio/high_max", high_share.max().item<double>(), 1);
}

void TokenMetrics::log(Metrics& metrics) const {
  const Tensor sums = at::stack(sums_).to(at::kCPU);
  const double* value = sums.data_ptr<double>();
  for (size_t i = 0; i < names_.size(); ++i) metrics.add(names_[i], value[2 * i], value[2 * i + 1]);
}

}  // namespace luce
