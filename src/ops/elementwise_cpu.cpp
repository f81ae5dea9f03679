// bf16 rows are widened before a kernel and rounded behind it, as the definition does, some at a
// time: whole tensors in f32 would be written and read again.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/elementwise_backend.h"

namespace luce {
namespace {

Tensor wide(const Tensor& x) { return x.to(at::kFloat); }
uint16_t* bits(const Tensor& x) { return reinterpret_cast<uint16_t*>(x.data_ptr<at::BFloat16>()); }

/// Rows of d elements as the kernels take them, f32: where they lie, or widened in a buffer of the
/// thread that holds no more than stays in cache.
class In {
 public:
  In(const Tensor& x, int64_t d) : x_(x), d_(d) {}

  const float* operator()(int64_t begin, int64_t rows) {
    if (!x_.defined()) return nullptr;
    if (x_.scalar_type() == at::kFloat) return x_.const_data_ptr<float>() + begin * d_;
    buffer_.resize(static_cast<size_t>(rows * d_));
    kernels::table().widen(rows * d_, bits(x_) + begin * d_, buffer_.data());
    return buffer_.data();
  }

 private:
  const Tensor& x_;
  int64_t d_;
  std::vector<float> buffer_;
};

/// Rows that a kernel writes, rounded by done().
class Out {
 public:
  Out(const Tensor& y, int64_t d) : y_(y), d_(d) {}

  float* operator()(int64_t begin, int64_t rows) {
    if (!y_.defined()) return nullptr;
    if (y_.scalar_type() == at::kFloat) return y_.data_ptr<float>() + begin * d_;
    buffer_.resize(static_cast<size_t>(rows * d_));
    return buffer_.data();
  }
  void done(int64_t begin, int64_t rows) const {
    if (y_.defined() && y_.scalar_type() != at::kFloat)
      kernels::table().narrow(rows * d_, buffer_.data(), bits(y_) + begin * d_);
  }

 private:
  const Tensor& y_;
  int64_t d_;
  std::vector<float> buffer_;
};

/// Rows whose weight gradients are summed together: fixed, so that sums do not depend on threads.
constexpr int64_t kRows = 128;
/// Elements that a thread takes at least, and those that it takes at once.
constexpr int64_t kGrain = 16384, kAtOnce = 4096;

/// Rows of d elements that are taken at once.
int64_t at_once(int64_t d) { return std::max<int64_t>(1, kAtOnce / std::max<int64_t>(1, d)); }

/// Calls fn(begin, rows) for all of n rows of d elements, on all threads; `make` is called once a
/// thread and makes fn with its buffers.
template <class Make>
void for_rows(int64_t n, int64_t d, const Make& make) {
  const int64_t rows = at_once(d), grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, d));
  at::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    auto fn = make();
    for (int64_t r = begin; r < end; r += rows) fn(r, std::min(rows, end - r));
  });
}

NormForward norm(const Tensor& x, const Tensor& residual, const Tensor& w_in, double eps) {
  const int64_t n = x.size(0), d = x.size(1);
  const Tensor w = wide(w_in), sum = residual.defined() ? at::empty_like(x) : Tensor(),
               y = at::empty_like(x), rstd = at::empty({n}, w.options());
  for_rows(n, d, [&] {
    return [&, x_in = In(x, d), residual_in = In(residual, d), sum_out = Out(sum, d),
            y_out = Out(y, d)](int64_t begin, int64_t rows) mutable {
      kernels::table().rms_norm(rows, d, x_in(begin, rows), residual_in(begin, rows),
                                w.const_data_ptr<float>(), static_cast<float>(eps),
                                sum_out(begin, rows), y_out(begin, rows),
                                rstd.data_ptr<float>() + begin);
      sum_out.done(begin, rows);
      y_out.done(begin, rows);
    };
  });
  return {residual.defined() ? sum : x, y, rstd};
}

NormBackward norm_backward(const Tensor& x, const Tensor& w_in, const Tensor& rstd,
                           const Tensor& dy, const Tensor& d_sum) {
  const int64_t n = x.size(0), d = x.size(1), parts = (n + kRows - 1) / kRows;
  const Tensor w = wide(w_in), dx = at::empty_like(x), dw = at::zeros({parts, d}, w.options());
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    In x_in(x, d), dy_in(dy, d), d_sum_in(d_sum, d);
    Out dx_out(dx, d);
    const int64_t step = at_once(d);
    for (int64_t part = first; part < last; ++part)
      for (int64_t begin = part * kRows, end = std::min(n, begin + kRows); begin < end;
           begin += step) {
        const int64_t rows = std::min(step, end - begin);
        kernels::table().rms_norm_backward(rows, d, x_in(begin, rows), w.const_data_ptr<float>(),
                                           rstd.const_data_ptr<float>() + begin, dy_in(begin, rows),
                                           d_sum_in(begin, rows), dx_out(begin, rows),
                                           dw.data_ptr<float>() + part * d);
        dx_out.done(begin, rows);
      }
  });
  return {dx, dw.sum(0).to(w_in.scalar_type())};
}

Tensor rotate(const Tensor& x, const Tensor& cos, const Tensor& sin, bool inverse) {
  const int64_t n = x.size(0), h = x.size(1), d = x.size(2);
  const Tensor y = at::empty_like(x);
  const float *c = cos.const_data_ptr<float>(), *s = sin.const_data_ptr<float>();
  for_rows(n, h * d, [&] {
    return [&, x_in = In(x, h * d), y_out = Out(y, h * d)](int64_t begin, int64_t rows) mutable {
      kernels::table().rotate(rows, h, d, x_in(begin, rows), c + begin * d / 2, s + begin * d / 2,
                              inverse ? -1.0F : 1.0F, y_out(begin, rows));
      y_out.done(begin, rows);
    };
  });
  return y;
}

Tensor gated(const Tensor& gate, const Tensor& up) {
  const Tensor y = at::empty_like(gate);
  for_rows(gate.numel(), 1, [&] {
    return [gate_in = In(gate, 1), up_in = In(up, 1), y_out = Out(y, 1)](int64_t begin,
                                                                         int64_t n) mutable {
      kernels::table().swiglu(n, gate_in(begin, n), up_in(begin, n), y_out(begin, n));
      y_out.done(begin, n);
    };
  });
  return y;
}

std::pair<Tensor, Tensor> gated_backward(const Tensor& gate, const Tensor& up, const Tensor& dy) {
  const Tensor d_gate = at::empty_like(gate), d_up = at::empty_like(gate);
  for_rows(gate.numel(), 1, [&] {
    return [gate_in = In(gate, 1), up_in = In(up, 1), dy_in = In(dy, 1), gate_out = Out(d_gate, 1),
            up_out = Out(d_up, 1)](int64_t begin, int64_t n) mutable {
      kernels::table().swiglu_backward(n, gate_in(begin, n), up_in(begin, n), dy_in(begin, n),
                                       gate_out(begin, n), up_out(begin, n));
      gate_out.done(begin, n);
      up_out.done(begin, n);
    };
  });
  return {d_gate, d_up};
}

}  // namespace

const ElementwiseBackend kCpuElementwise{norm, norm_backward, rotate, gated, gated_backward};

}  // namespace luce
