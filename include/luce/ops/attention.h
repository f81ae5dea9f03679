// Attention over a forest of prompts and their completions, without padding and without a mask.
#pragma once

#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

/// A run of rows of the flat token stream that attends to itself causally and, before that, to the
/// whole of one earlier run (a completion's prompt).
struct TreeSegment {
  int64_t begin = 0, length = 0;
  int64_t prefix_begin = 0, prefix_length = 0;
};

/// Scaled dot-product attention of every segment to its prefix and itself.
///
///   out_i = Σ_{j ∈ prefix ∪ {j ≤ i in the segment}} softmax_j(scale · q_i·k_j) v_j
///
/// q [N, H, d], k and v [N, K, d], any float dtype, H a multiple of K (grouped queries: head h
/// reads key-value head h / (H/K)). Softmax and accumulation are f32 (f64 for f64 inputs). Returns
/// [N, H, d]; rows outside every segment are 0. Differentiable in q, k and v; the score matrix is
/// recomputed in the backward pass, not kept. Trees (a prefix and the segments that read it) run on
/// different threads; a result does not depend on their number.
/// Throws ArgumentError on shapes that do not fit.
Tensor tree_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                      const std::vector<TreeSegment>& segments, double scale);

/// Attention of one new token per sequence to its cached keys and values, without a gradient.
/// q [B, H, d]; k and v [B, K, T, d], of which sequence b uses the first lengths[b] ([B] i64)
/// places. Returns [B, H, d].
Tensor cached_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths,
                        double scale);

}  // namespace luce
