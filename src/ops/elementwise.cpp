#include "luce/ops/elementwise.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace luce {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& w, double eps) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const Tensor wide = x.to(statistics_type(x.scalar_type()));
    const Tensor rstd = wide.square().mean(-1, true).add_(eps).rsqrt_();
    ctx->save_for_backward({x, w, rstd});
    return (wide * rstd).to(x.scalar_type()).mul_(w);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], &rstd = saved[2];
    const auto type = rstd.scalar_type();
    const Tensor dy = grads[0].to(type), x_hat = x.to(type) * rstd;
    const Tensor dx_hat = dy * w.to(type);
    const Tensor mean = (dx_hat * x_hat).mean(-1, true);
    const Tensor dx = (dx_hat - x_hat * mean).mul_(rstd);
    return {dx.to(x.scalar_type()), (dy * x_hat).sum(0).to(w.scalar_type()), Tensor()};
  }
};

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse) {
  const auto halves = x.to(cos.scalar_type()).chunk(2, -1);
  const Tensor c = cos.unsqueeze(1), s = inverse ? sin.unsqueeze(1).neg() : sin.unsqueeze(1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1)
      .to(x.scalar_type());
}

class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    ctx->save_for_backward({cos, sin});
    return rotated(x, cos, sin, false);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    return {rotated(grads[0], saved[0], saved[1], true), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) {
  expect_dim(x, 2, "rms_norm", "x");
  expect_dim(w, 1, "rms_norm", "w");
  return RmsNorm::apply(x, w, eps);
}

RotaryTable rotary_table(const Tensor& positions, const std::vector<double>& inverse_frequencies,
                         at::ScalarType dtype) {
  const Tensor f = at::tensor(inverse_frequencies, at::kDouble).to(at::kFloat).to(at::kDouble);
  // The peers hold frequencies in f32; the angles are exact products, so that f64 models agree with
  // them to the last digit that matters and f32 models do not lose digits at long positions.
  const Tensor angle = at::outer(positions.to(at::kDouble), f.to(positions.device()));
  return {angle.cos().to(dtype), angle.sin().to(dtype)};
}

Tensor rotate(const Tensor& x, const RotaryTable& table) {
  expect_dim(x, 3, "rotate", "x");
  return Rotate::apply(x, table.cos, table.sin);
}

Tensor swiglu(const Tensor& gate, const Tensor& up) { return at::silu(gate) * up; }

}  // namespace luce
