// What a step tells of itself beside its loss.
#pragma once

#include "luce/loss/loss.h"

namespace luce {

/// Of every answer the scalar weight of its ∇log π in the gradient: positive where the loss raises
/// a chosen answer or lowers a rejected one.
void add_gradient_weights(const GroupInputs& x, const Tensor& d_logps, double divisor,
                          Metrics& metrics);

}  // namespace luce
