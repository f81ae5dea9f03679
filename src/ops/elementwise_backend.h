// Forward and backward passes of the element-wise ops, without a graph, one set per backend.
#pragma once

#include <utility>

#include "luce/ops/elementwise.h"

namespace luce {

struct NormForward {
  Tensor sum;   // x + residual; x itself without one
  Tensor y;     // [N, D]
  Tensor rstd;  // [N] 1/√(mean(sum²) + eps), in the statistics dtype
};
struct NormBackward {
  Tensor dx, dw;
};

// `residual` and `d_sum` may be undefined. Everything is contiguous.
struct ElementwiseBackend {
  NormForward (*norm)(const Tensor& x, const Tensor& residual, const Tensor& w, double eps);
  NormBackward (*norm_backward)(const Tensor& sum, const Tensor& w, const Tensor& rstd,
                                const Tensor& dy, const Tensor& d_sum);
  Tensor (*rotate)(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse);
  Tensor (*swiglu)(const Tensor& gate, const Tensor& up);
  std::pair<Tensor, Tensor> (*swiglu_backward)(const Tensor& gate, const Tensor& up,
                                               const Tensor& dy);
};

/// The definitions in LibTorch's operators: any device and dtype.
extern const ElementwiseBackend kComposedElementwise;
/// f32 and bf16 on the CPU, one pass over each row.
extern const ElementwiseBackend kCpuElementwise;
#if defined(LUCE_CUDA)
extern const ElementwiseBackend kCudaElementwise;
#endif

}  // namespace luce
