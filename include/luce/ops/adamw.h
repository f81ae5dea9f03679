// The optimizer's arithmetic: one pass over weights, gradients and moments.
#pragma once

#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

/// One weight and what belongs to it, all of one shape, contiguous and on one device.
struct AdamWTensor {
  Tensor grad, weight, m, v;  // f32 or f64, all alike
  Tensor work;                // takes the weight rounded to its dtype; undefined: there is none
  double weight_decay = 0;
};

struct AdamWUpdate {
  double lr, beta1, beta2, epsilon;
  double gradient_scale = 1;        // gradients are multiplied by it first
  double correction1, correction2;  // 1 − β₁ᵗ, 1 − β₂ᵗ
};

/// AdamW (Loshchilov & Hutter, arXiv:1711.05101), scaling and rounding in the same pass:
///   g ← scale · g    m ← β₁m + (1−β₁)g    v ← β₂v + (1−β₂)g²
///   θ ← θ(1 − ηλ) − η (m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε)
void adamw(std::vector<AdamWTensor>& tensors, const AdamWUpdate& update);

/// Σ g² over all tensors, in f64. Does not depend on the number of threads.
double sum_of_squares(const std::vector<Tensor>& tensors);

}  // namespace luce
