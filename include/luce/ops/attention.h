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

struct AttentionOptions {
  double scale = 1;
  int64_t window = 0;  // a row sees the last `window` positions, its own among them; 0: all
  double softcap = 0;  // scores become softcap · tanh(score / softcap); 0: they stay
};

/// Scaled dot-product attention of every segment to its prefix and itself.
///
///   out_i = Σ_j softmax_j(z_ij) v_j,   j ∈ prefix ∪ {j ≤ i in the segment}
///   z_ij = scale · q_i·k_j,  or softcap · tanh(scale · q_i·k_j / softcap)   (arXiv:1611.09940)
///
/// A window is counted along the prefix and the segment behind it. q [N, H, d], k and v [N, K, d],
/// of one float dtype, H a multiple of K (grouped queries: head h reads key-value head h / (H/K)).
/// Softmax and accumulation are f32 (f64 for f64 inputs). Returns [N, H, d]; rows outside every
/// segment are 0. Differentiable in q, k and v; scores are computed again in the backward pass, and
/// on a CPU in f32 and bf16 they exist for one tile at a time. There a row's result has the same
/// bits whatever stands beside it, and the same as paged_attention's. No result depends on the
/// number of threads. Throws ArgumentError on shapes, dtypes or options that do not fit.
Tensor tree_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                      const std::vector<TreeSegment>& segments, const AttentionOptions& options);

/// The definition in tensor operations, with all scores of a segment at once: what runs for other
/// dtypes and devices.
namespace composed {
Tensor tree_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                      const std::vector<TreeSegment>& segments, const AttentionOptions& options);
}  // namespace composed

}  // namespace luce
