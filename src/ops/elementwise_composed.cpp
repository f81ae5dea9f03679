#include <ATen/ATen.h>

#include "ops/elementwise_backend.h"

namespace luce {
namespace {

NormForward norm(const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
  const Tensor sum = residual.defined() ? x + residual : x;
  const Tensor wide = sum.to(statistics_type(x.scalar_type()));
  const Tensor rstd = wide.square().mean(-1).add_(eps).rsqrt_();
  return {sum, (wide * rstd.unsqueeze(1)).to(x.scalar_type()).mul_(w), rstd};
}

NormBackward norm_backward(const Tensor& sum, const Tensor& w, const Tensor& rstd, const Tensor& dy,
                           const Tensor& d_sum) {
  // x̂ = x·rstd:  dx = rstd (w∘dy − x̂ mean(w∘dy∘x̂)),  dw = Σ_rows dy∘x̂
  const auto type = rstd.scalar_type();
  const Tensor scale = rstd.unsqueeze(1);
  const Tensor wide = dy.to(type), x_hat = sum.to(type) * scale;
  const Tensor dx_hat = wide * w.to(type);
  Tensor dx = (dx_hat - x_hat * (dx_hat * x_hat).mean(-1, true)).mul_(scale);
  if (d_sum.defined()) dx.add_(d_sum);
  return {dx.to(sum.scalar_type()), (wide * x_hat).sum(0).to(w.scalar_type())};
}

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse) {
  const auto halves = x.to(cos.scalar_type()).chunk(2, -1);
  const Tensor c = cos.unsqueeze(1), s = inverse ? sin.unsqueeze(1).neg() : sin.unsqueeze(1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1)
      .to(x.scalar_type());
}

Tensor gated(const Tensor& gate, const Tensor& up) { return at::silu(gate) * up; }

std::pair<Tensor, Tensor> gated_backward(const Tensor& gate, const Tensor& up, const Tensor& dy) {
  return {at::silu_backward(dy * up, gate), dy * at::silu(gate)};
}

}  // namespace

const ElementwiseBackend kComposedElementwise{norm, norm_backward, rotate, gated, gated_backward};

}  // namespace luce
