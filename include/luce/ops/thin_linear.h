// Products with weights for rows that need no gradient, such as those of a sampler's step.
#pragma once

#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

struct LinearWeights {
  Tensor w;  // [out, in]
  Tensor b;  // [out] or undefined
};

/// x wᵀ + b for every layer, x [N, in] of their dtype: [N, out] each, without a graph. On the CPU
/// in f32 and bf16 every weight is read once, as it lies, for 128 rows at a time, and each element
/// is one chain of multiply-adds over `in` in ascending order (in bf16 with f32 sums): its bits do
/// not depend on the rows beside it nor on the number of threads, and in f32 they are those of
/// ordered_linear. Elsewhere this is linear. Throws ArgumentError on shapes or dtypes that differ.
std::vector<Tensor> thin_linear(const Tensor& x, const std::vector<LinearWeights>& layers);

}  // namespace luce
