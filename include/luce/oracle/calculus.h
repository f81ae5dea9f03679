// Derivatives and exact minima of small problems: fewer than a hundred parameters, in f64.
#pragma once

#include <functional>

#include "luce/ops/tensor.h"

namespace luce::oracle {

/// ∂value/∂x for one number `value`, in the shape of x; zeros where value does not depend on x. The
/// result can be differentiated again.
Tensor gradient(const Tensor& value, const Tensor& x);

/// ∂value_i/∂x_j: [m, n] for m values and n numbers in x, both flattened.
Tensor jacobian(const Tensor& values, const Tensor& x);

/// Largest |x|; NaN where x holds one.
double largest(const Tensor& x);

/// Largest |got − want|.
double deviation(const Tensor& got, const Tensor& want);

/// One number from parameters of any shape, twice differentiable almost everywhere.
using Function = std::function<Tensor(const Tensor&)>;

/// Why a minimisation ended.
enum class Stop {
  gradient,    // its norm is small enough
  stalled,     // no shorter step is an improvement: a kink, or the end of what f64 can tell apart
  iterations,  // their largest number is reached
};

struct Minimum {
  Tensor x;  // the parameters, without a graph
  double value = 0, gradient_norm = 0;
  int iterations = 0;
  Stop stop = Stop::gradient;
};

struct MinimiseOptions {
  double gradient_norm = 1e-12;
  int max_iterations = 500;
};

/// A local minimum of f by Newton's method with the Hessian's eigenvalues made positive, from
/// `start` downhill. Directions along which f does not change, such as a constant added to all
/// logits, do no harm. f must have the gradient that its value says: no part of it may be detached.
/// Throws ArgumentError where f or its gradient is not finite at the start.
Minimum minimise(const Function& f, const Tensor& start, const MinimiseOptions& options = {});

}  // namespace luce::oracle
