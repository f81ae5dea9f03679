// Products of activations and weight matrices.
#pragma once

#include "luce/ops/tensor.h"

namespace luce {

/// A weight matrix as ordered_linear reads it. It is packed when it is first needed and again after
/// the weight has changed in place.
class PackedWeight {
 public:
  /// weightᵀ, [in, out] contiguous.
  const Tensor& of(const Tensor& weight);

 private:
  Tensor packed_;
  const void* source_ = nullptr;
  uint32_t version_ = 0;
};

/// x wᵀ + b: x [N, in], w [out, in], b [out] or undefined, of one dtype. Returns [N, out].
/// Differentiable in all three.
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);

/// The same on the CPU in f32 with a promise: each element of the result is one chain of
/// multiply-adds over `in` in ascending order, so that a row's bits do not depend on the rows
/// beside it nor on the number of threads. Gradients are those of linear. Throws ArgumentError on
/// other dtypes or devices.
Tensor ordered_linear(const Tensor& x, const Tensor& w, const Tensor& b, PackedWeight& packed);

}  // namespace luce
