#include "luce/train/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "luce/ops/adamw.h"

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
  const auto t = static_cast<double>(steps_);
  std::vector<AdamWTensor> updates;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    auto& p = parameters_[i];
    updates.push_back({p.grad, p.master.detach(), m_[i], v_[i],
                       p.work.is_same(p.master) ? Tensor() : p.work.detach(),
                       p.decay ? options_.weight_decay : 0.0});
  }
  adamw(updates, {.lr = lr,
                  .beta1 = options_.beta1,
                  .beta2 = options_.beta2,
                  .epsilon = options_.epsilon,
                  .gradient_scale = gradient_scale,
                  .correction1 = 1 - std::pow(options_.beta1, t),
                  .correction2 = 1 - std::pow(options_.beta2, t)});
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
