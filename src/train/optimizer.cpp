#include "luce/train/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace luce {

AdamW::AdamW(std::vector<Parameter>& parameters, const AdamWOptions& options)
    : parameters_(parameters), options_(options) {
  for (const auto& p : parameters_) {
    m_.push_back(at::zeros_like(p.grad));
    v_.push_back(at::zeros_like(p.grad));
  }
}

void AdamW::step(double lr, double gradient_scale) {
  const at::NoGradGuard no_grad;
  ++steps_;
  for (const bool decay : {true, false}) {
    std::vector<Tensor> weights, grads, m, v, counts;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (parameters_[i].decay != decay) continue;
      weights.push_back(parameters_[i].master.detach());
      grads.push_back(parameters_[i].grad);
      m.push_back(m_[i]);
      v.push_back(v_[i]);
      counts.push_back(at::scalar_tensor(static_cast<double>(steps_), at::kFloat));
    }
    if (weights.empty()) continue;
    if (gradient_scale != 1) at::_foreach_mul_(grads, gradient_scale);
    at::_fused_adamw_(weights, grads, m, v, {}, counts, lr, options_.beta1, options_.beta2,
                      decay ? options_.weight_decay : 0.0, options_.epsilon, false, false);
  }
  for (auto& p : parameters_) p.publish();
}

double clip_factor(double norm, double max_norm) {
  // The peers' constant: torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6.
  return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
}

double Schedule::at(int64_t step) const {
  const double warm = warmup < 1 ? std::ceil(warmup * static_cast<double>(total)) : warmup;
  const auto t = static_cast<double>(step);
  if (t < warm) return learning_rate * t / warm;
  if (type == "constant" || type == "constant_with_warmup") return learning_rate;
  const double progress =
      std::min(1.0, (t - warm) / std::max(1.0, static_cast<double>(total) - warm));
  const double shape =
      type == "cosine" ? 0.5 * (1 + std::cos(3.14159265358979323846 * progress)) : 1 - progress;
  return min_lr + (learning_rate - min_lr) * shape;
}

}  // namespace luce
