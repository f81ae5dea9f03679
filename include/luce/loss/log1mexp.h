// log(1 − e^x) for x ≤ 0, as of probabilities: log(1 − p) from log p.
#pragma once

#include "luce/ops/tensor.h"

namespace luce {

/// log(1 − e^x) with full precision at both ends (M. Mächler, "Accurately computing
/// log(1 − exp(−|a|))", 2012). x is taken as at most −2⁻⁵², so that p = 1 gives a large finite
/// number; there the gradient is 0. Any shape, f32 or f64; differentiable in x.
Tensor log1mexp(const Tensor& x);

}  // namespace luce
