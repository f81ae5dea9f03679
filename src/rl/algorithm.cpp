#include "luce/rl/algorithm.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "luce/base/error.h"

namespace luce {

std::vector<double> token_weights(const Rollout& rollout, const Advantages& advantages,
                                  const std::vector<int64_t>& which, Aggregation aggregation,
                                  int64_t max_completion_length) {
  if (aggregation == Aggregation::fixed_length && max_completion_length < 1)
    throw ArgumentError(
        cat("[token_weights] the largest length of a completion must be at least "
            "1; got ",
            max_completion_length));
  double tokens = 0, completions = 0;
  for (const int64_t c : which) {
    if (c < 0 || c >= rollout.num_completions())
      throw ArgumentError(
          cat("[token_weights] completion ", c, " of a rollout of ", rollout.num_completions()));
    if (advantages.counted[static_cast<size_t>(c)]) completions += 1;
    if (advantages.trained[static_cast<size_t>(c)])
      tokens += static_cast<double>(rollout.length(c));
  }
  const auto weight = [&](double length) {
    switch (aggregation) {
      case Aggregation::token_mean:
        return 1 / tokens;
      case Aggregation::sequence_mean:
        return 1 / (completions * length);
      case Aggregation::sequence_sum:
        return 1 / completions;
      case Aggregation::fixed_length:
        return 1 / (completions * static_cast<double>(max_completion_length));
    }
    throw ArgumentError("[token_weights] unknown aggregation");
  };
  std::vector<double> out(static_cast<size_t>(rollout.num_tokens()), 0);
  for (const int64_t c : which) {
    if (!advantages.trained[static_cast<size_t>(c)]) continue;
    const int64_t begin = rollout.offset[static_cast<size_t>(c)];
    std::fill(out.begin() + begin, out.begin() + begin + rollout.length(c),
              weight(static_cast<double>(rollout.length(c))));
  }
  return out;
}

// PPO's value loss: ℓ = ½ max((V − G)², (clip(V, V_old − c, V_old + c) − G)²), arXiv:2005.12729
Tensor clipped_value_loss(const ValueInputs& x, double clip, Metrics& metrics) {
  const Tensor plain = (x.values - x.returns).square();
  Tensor loss = plain / 2;
  const Tensor trained = x.weights.defined() ? x.weights.ne(0).to(at::kDouble)
                                             : at::ones_like(plain, at::kDouble).detach();
  const double count = trained.sum().item<double>();
  if (clip > 0) {
    const Tensor held =
        at::maximum(at::minimum(x.values, x.old_values + clip), x.old_values - clip);
    const Tensor clipped = (held - x.returns).square();
    loss = at::maximum(plain, clipped) / 2;
    const Tensor share = clipped.gt(plain).to(at::kDouble);
    metrics.add("val/clipfrac_avg", (share * trained).sum().item<double>(), count);
  }
  metrics.add("loss/value_avg", (loss.detach().to(at::kDouble) * trained).sum().item<double>(),
              count);
  return loss;
}

Tensor Algorithm::value_loss(const ValueInputs& inputs, Metrics& metrics) const {
  return clipped_value_loss(inputs, 0, metrics);
}

void Algorithm::load_state(const Json& state) {
  if (!state.is_null())
    throw DataError(cat("the checkpoint holds the state of another algorithm: ", state.dump()));
}

}  // namespace luce
