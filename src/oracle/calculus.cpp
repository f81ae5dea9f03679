#include "luce/oracle/calculus.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "luce/base/error.h"

namespace luce::oracle {

Tensor gradient(const Tensor& value, const Tensor& x) {
  if (!value.requires_grad()) return at::zeros_like(x);
  const auto g = torch::autograd::grad({value}, {x}, {}, /*retain_graph=*/true,
                                       /*create_graph=*/true, /*allow_unused=*/true)[0];
  return g.defined() ? g : at::zeros_like(x);
}

Tensor jacobian(const Tensor& values, const Tensor& x) {
  const Tensor flat = values.reshape({-1});
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < flat.numel(); ++i) rows.push_back(gradient(flat[i], x).reshape({-1}));
  return at::stack(rows);
}

double largest(const Tensor& x) { return x.abs().max().item<double>(); }

double deviation(const Tensor& got, const Tensor& want) { return largest(got - want); }

namespace {

/// f at a place, with the graph from which the Hessian comes.
struct Point {
  Tensor x, gradient;
  double value, norm;

  bool finite() const { return std::isfinite(value) && std::isfinite(norm); }

  Point(const Function& f, const Tensor& place) : x(place.detach().requires_grad_(true)) {
    const Tensor y = f(x);
    gradient = oracle::gradient(y, x);
    value = y.item<double>();
    norm = gradient.norm().item<double>();
  }
};

/// −|H|⁻¹ g: downhill whatever the curvature's sign. Curvatures below 1e-10 of the largest one are
/// held there, since both they and the gradient along them are rounding. Losses saturate far away,
/// where Newton's step is not to be trusted, so that none is longer than 5.
Tensor newton_step(const Point& at) {
  const Tensor g = at.gradient.detach().reshape({-1, 1});
  const auto [curvature, direction] = at::linalg_eigh(jacobian(at.gradient, at.x).detach());
  const Tensor size = curvature.abs();
  const double largest = size.max().item<double>();
  const Tensor held = largest > 0 ? size.clamp_min(1e-10 * largest) : at::ones_like(size);
  const Tensor step = -direction.matmul(direction.t().matmul(g) / held.unsqueeze(1));
  return (step * std::min(1.0, 5 / step.norm().item<double>())).view_as(at.x);
}

}  // namespace

Minimum minimise(const Function& f, const Tensor& start, const MinimiseOptions& options) {
  Point here(f, start.to(at::kDouble));
  if (!here.finite())
    throw ArgumentError(
        cat("[minimise] the function and its gradient must be finite at the start; got ",
            here.value, " and a gradient of norm ", here.norm));
  const auto ended = [&](int iterations, Stop stop) {
    return Minimum{here.x.detach(), here.value, here.norm, iterations, stop};
  };
  for (int iteration = 0;; ++iteration) {
    if (here.norm <= options.gradient_norm) return ended(iteration, Stop::gradient);
    if (iteration == options.max_iterations) return ended(iteration, Stop::iterations);
    const Tensor step = newton_step(here);
    const double slope = (here.gradient * step).sum().item<double>();
    // Close to the minimum the value's change drowns in its rounding: there the gradient decides.
    const double rounding = 1e-15 * std::max(1.0, std::abs(here.value));
    for (double length = 1;; length /= 2) {
      if (length < 1e-12) return ended(iteration, Stop::stalled);
      const Point there(f, here.x.detach() + length * step);
      if (!there.finite()) continue;
      const bool lower = there.value <= here.value + 1e-4 * length * slope;
      const bool flatter = there.value <= here.value + rounding && there.norm < here.norm;
      if (!lower && !flatter) continue;
      here = there;
      break;
    }
  }
}

}  // namespace luce::oracle
