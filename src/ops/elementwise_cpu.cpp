// bf16 rows are widened before a kernel and rounded behind it, as the definition does.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/kernels.h"
#include "ops/elementwise_backend.h"

namespace luce {
namespace {

Tensor wide(const Tensor& x) { return x.to(at::kFloat); }
Tensor like(const Tensor& x) { return at::empty(x.sizes(), x.options().dtype(at::kFloat)); }
const float* in(const Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; }
const float* row(const float* x, int64_t begin, int64_t d) {
  return x == nullptr ? nullptr : x + begin * d;
}

/// Rows whose weight gradients are summed together: fixed, so that sums do not depend on threads.
constexpr int64_t kRows = 128;
/// Elements that a thread takes at least.
constexpr int64_t kGrain = 16384;

NormForward norm(const Tensor& x_in, const Tensor& residual_in, const Tensor& w_in, double eps) {
  const bool adds = residual_in.defined();
  const Tensor x = wide(x_in), residual = adds ? wide(residual_in) : Tensor(), w = wide(w_in);
  const int64_t n = x.size(0), d = x.size(1);
  const Tensor sum = adds ? like(x) : x, y = like(x), rstd = at::empty({n}, x.options());
  float* sum_out = adds ? sum.data_ptr<float>() : nullptr;
  at::parallel_for(0, n, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, d)),
                   [&](int64_t begin, int64_t end) {
                     kernels::table().rms_norm(
                         end - begin, d, in(x) + begin * d, row(in(residual), begin, d), in(w),
                         static_cast<float>(eps), adds ? sum_out + begin * d : nullptr,
                         y.data_ptr<float>() + begin * d, rstd.data_ptr<float>() + begin);
                   });
  const auto type = x_in.scalar_type();
  return {adds ? sum.to(type) : x_in, y.to(type), rstd};
}

NormBackward norm_backward(const Tensor& sum, const Tensor& w_in, const Tensor& rstd,
                           const Tensor& dy_in, const Tensor& d_sum_in) {
  const Tensor x = wide(sum), w = wide(w_in), dy = wide(dy_in);
  const Tensor d_sum = d_sum_in.defined() ? wide(d_sum_in) : Tensor();
  const int64_t n = x.size(0), d = x.size(1), parts = (n + kRows - 1) / kRows;
  const Tensor dx = like(x), dw = at::zeros({parts, d}, x.options());
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const int64_t begin = part * kRows, rows = std::min(kRows, n - begin);
      kernels::table().rms_norm_backward(rows, d, in(x) + begin * d, in(w), in(rstd) + begin,
                                         in(dy) + begin * d, row(in(d_sum), begin, d),
                                         dx.data_ptr<float>() + begin * d,
                                         dw.data_ptr<float>() + part * d);
    }
  });
  return {dx.to(sum.scalar_type()), dw.sum(0).to(w_in.scalar_type())};
}

Tensor rotate(const Tensor& x_in, const Tensor& cos, const Tensor& sin, bool inverse) {
  const Tensor x = wide(x_in), y = like(x);
  const int64_t n = x.size(0), h = x.size(1), d = x.size(2);
  at::parallel_for(0, n, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, h * d)),
                   [&](int64_t begin, int64_t end) {
                     kernels::table().rotate(end - begin, h, d, in(x) + begin * h * d,
                                             in(cos) + begin * d / 2, in(sin) + begin * d / 2,
                                             inverse ? -1.0F : 1.0F,
                                             y.data_ptr<float>() + begin * h * d);
                   });
  return y.to(x_in.scalar_type());
}

Tensor gated(const Tensor& gate_in, const Tensor& up_in) {
  const Tensor gate = wide(gate_in), up = wide(up_in), y = like(gate);
  at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels::table().swiglu(end - begin, in(gate) + begin, in(up) + begin,
                            y.data_ptr<float>() + begin);
  });
  return y.to(gate_in.scalar_type());
}

std::pair<Tensor, Tensor> gated_backward(const Tensor& gate_in, const Tensor& up_in,
                                         const Tensor& dy_in) {
  const Tensor gate = wide(gate_in), up = wide(up_in), dy = wide(dy_in);
  const Tensor d_gate = like(gate), d_up = like(gate);
  at::parallel_for(0, gate.numel(), kGrain, [&](int64_t begin, int64_t end) {
    kernels::table().swiglu_backward(end - begin, in(gate) + begin, in(up) + begin, in(dy) + begin,
                                     d_gate.data_ptr<float>() + begin,
                                     d_up.data_ptr<float>() + begin);
  });
  return {d_gate.to(gate_in.scalar_type()), d_up.to(gate_in.scalar_type())};
}

}  // namespace

const ElementwiseBackend kCpuElementwise{norm, norm_backward, rotate, gated, gated_backward};

}  // namespace luce
