// The small ops of a decoder block: RMSNorm, rotary positions, the gated activation.
#pragma once

#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

/// Root-mean-square normalisation (Zhang & Sennrich, arXiv:1910.07467), statistics in f32 or wider:
///   y = w ∘ x / √(mean(x²) + eps)
/// x [N, D] any float dtype, w [D] of the same dtype. Returns [N, D]. Differentiable in x and w.
Tensor rms_norm(const Tensor& x, const Tensor& w, double eps);

/// A residual stream and its norm.
struct Normed {
  Tensor sum;  // [N, D] x + residual
  Tensor y;    // [N, D] its rms_norm
};
/// The residual connection and the norm behind it in one pass. Differentiable in x, residual and w.
Normed add_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& w, double eps);

/// cos and sin of every rotary angle: the rows of `positions` times `inverse_frequencies`.
struct RotaryTable {
  Tensor cos, sin;  // [N, d/2], f32 (f64 where asked)
};
RotaryTable rotary_table(const Tensor& positions, const std::vector<double>& inverse_frequencies,
                         at::ScalarType dtype);

/// Rotary position embedding in the half-split layout (Su et al., arXiv:2104.09864):
///   (a, b) ← (a·cos − b·sin, b·cos + a·sin)    a, b: first and second half of the head
/// x [N, H, d]. Differentiable in x.
Tensor rotate(const Tensor& x, const RotaryTable& table);

/// SwiGLU (Shazeer, arXiv:2002.05202): silu(gate) ∘ up, both [N, F]. Differentiable in both.
Tensor swiglu(const Tensor& gate, const Tensor& up);

}  // namespace luce
