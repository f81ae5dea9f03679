// AdamW and the learning rate over a run.
#pragma once

#include <string>
#include <vector>

#include "luce/model/parameter.h"

namespace luce {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

/// AdamW (Loshchilov & Hutter, arXiv:1711.05101):
///   m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
///   θ ← θ − η (m̂ / (√v̂ + ε) + λθ)          m̂, v̂: divided by 1 − βᵗ; λ skips norms and biases
/// Moments are f32 (f64 for f64 models).
class AdamW {
 public:
  AdamW(std::vector<Parameter>& parameters, const AdamWOptions& options);

  /// One update with learning rate `lr`, from gradients scaled by `gradient_scale`.
  void step(double lr, double gradient_scale = 1);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  /// First and second moments, in the order of the parameters.
  std::vector<Tensor>& first_moments() { return m_; }
  std::vector<Tensor>& second_moments() { return v_; }

 private:
  std::vector<Parameter>& parameters_;
  AdamWOptions options_;
  std::vector<Tensor> m_, v_;
  int64_t steps_ = 0;
};

/// What a gradient of this norm is multiplied by so that it is at most `max_norm` (0: no limit).
double clip_factor(double norm, double max_norm);

/// The learning rate over a run of `total` steps: it rises from 0 over the warm-up, so that step 0
/// of a warm-up has rate 0, then stays (constant) or falls to `min_lr` (linear, cosine).
struct Schedule {
  std::string type = "linear";  // constant | constant_with_warmup | linear | cosine
  double learning_rate = 0, min_lr = 0;
  double warmup = 0;  // steps; below 1 a share of `total`
  int64_t total = 1;

  double at(int64_t step) const;
};

}  // namespace luce
