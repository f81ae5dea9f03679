// The ways to compute attention that the ops of attention.h choose from. Arguments were checked.
#pragma once

#include "luce/ops/attention.h"

namespace luce {

/// out [N, H, d] in the dtype of q, and lse [N, H], the log Σ exp of each row's scores, in its
/// statistics type.
struct AttentionResult {
  Tensor out, lse;
};

struct AttentionGradients {
  Tensor q, k, v;  // in the dtype of the inputs
};

/// What a forward pass read and gave.
struct AttentionSaved {
  Tensor q, k, v, out, lse;
};

/// Segments that share rows, as indices in ascending order: no two trees write the same gradient.
std::vector<std::vector<size_t>> attention_trees(const std::vector<TreeSegment>& segments);

namespace composed {
AttentionResult attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const std::vector<TreeSegment>& segments,
                                  const AttentionOptions& options);
AttentionGradients attention_backward(const Tensor& d_out, const AttentionSaved& saved,
                                      const std::vector<TreeSegment>& segments,
                                      const AttentionOptions& options);
}  // namespace composed

/// f32 and bf16 on a CPU.
namespace cpu {
bool attention_covers(const Tensor& q);
AttentionResult attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const std::vector<TreeSegment>& segments,
                                  const AttentionOptions& options);
AttentionGradients attention_backward(const Tensor& d_out, const AttentionSaved& saved,
                                      const std::vector<TreeSegment>& segments,
                                      const AttentionOptions& options);
}  // namespace cpu

#if defined(LUCE_CUDA)
/// f32 and bf16 on a GPU.
bool cuda_attention_covers(const Tensor& q, const std::vector<TreeSegment>& segments);
AttentionResult cuda_attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const std::vector<TreeSegment>& segments,
                                       const AttentionOptions& options);
AttentionGradients cuda_attention_backward(const Tensor& d_out, const AttentionSaved& saved,
                                           const std::vector<TreeSegment>& segments,
                                           const AttentionOptions& options);
#endif

}  // namespace luce
