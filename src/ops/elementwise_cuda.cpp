// The small ops of a decoder block on a GPU: one kernel each, f32 and bf16 read as they are.
#if defined(LUCE_CUDA)
#include "ops/cuda_launch.h"
#include "ops/elementwise_backend.h"

namespace luce {
namespace {

NormForward norm(const Tensor& x, const Tensor& residual, const Tensor& w_in, double eps) {
  const c10::cuda::CUDAGuard device(x.device());
  const Tensor w = w_in.contiguous();
  const Tensor sum = residual.defined() ? at::empty_like(x) : x, y = at::empty_like(x);
  const Tensor rstd = at::empty({x.size(0)}, x.options().dtype(at::kFloat));
  check_launch(cuda::rms_norm(kernel_type(x, "rms_norm"), x.size(0), x.size(1), x.data_ptr(),
                              data_of(residual), w.data_ptr(), eps,
                              residual.defined() ? sum.data_ptr() : nullptr, y.data_ptr(),
                              rstd.data_ptr(), stream_of(x)),
               "rms_norm");
  return {sum, y, rstd};
}

NormBackward norm_backward(const Tensor& sum, const Tensor& w_in, const Tensor& rstd,
                           const Tensor& dy, const Tensor& d_sum) {
  const c10::cuda::CUDAGuard device(sum.device());
  const int64_t n = sum.size(0), d = sum.size(1);
  const Tensor w = w_in.contiguous(), dx = at::empty_like(sum);
  const Tensor partials = at::empty({cuda::rms_norm_partials(n), d}, rstd.options()),
               dw = at::zeros({d}, rstd.options());
  check_launch(
      cuda::rms_norm_backward(kernel_type(sum, "rms_norm"), n, d, sum.data_ptr(), w.data_ptr(),
                              rstd.data_ptr(), dy.data_ptr(), data_of(d_sum), dx.data_ptr(),
                              partials.data_ptr(), dw.data_ptr(), false, stream_of(sum)),
      "rms_norm");
  return {dx, dw.to(w_in.scalar_type())};
}

Tensor rotate(const Tensor& x, const Tensor& cos_in, const Tensor& sin_in, bool inverse) {
  const c10::cuda::CUDAGuard device(x.device());
  const Tensor cos = cos_in.to(at::kFloat).contiguous(), sin = sin_in.to(at::kFloat).contiguous();
  const Tensor y = at::empty_like(x);
  const int64_t stride = x.size(1) * x.size(2);
  check_launch(cuda::rotate(kernel_type(x, "rotate"), x.size(0), x.size(2),
                            {.in = x.data_ptr(),
                             .out = y.data_ptr(),
                             .heads = x.size(1),
                             .in_stride = stride,
                             .out_stride = stride},
                            {}, cos.data_ptr(), sin.data_ptr(), inverse, stream_of(x)),
               "rotate");
  return y;
}

/// Rows of a matrix; a tensor of any other shape counts as one.
struct Rows {
  int64_t count, width;
  explicit Rows(const Tensor& t)
      : count(t.dim() == 2 ? t.size(0) : 1), width(t.dim() == 2 ? t.size(1) : t.numel()) {}
};

Tensor gated(const Tensor& gate, const Tensor& up) {
  const c10::cuda::CUDAGuard device(gate.device());
  const Tensor y = at::empty_like(gate);
  const Rows rows(gate);
  check_launch(cuda::swiglu(kernel_type(gate, "swiglu"), rows.count, rows.width, gate.data_ptr(),
                            up.data_ptr(), rows.width, y.data_ptr(), stream_of(gate)),
               "swiglu");
  return y;
}

std::pair<Tensor, Tensor> gated_backward(const Tensor& gate, const Tensor& up, const Tensor& dy) {
  const c10::cuda::CUDAGuard device(gate.device());
  const Tensor d_gate = at::empty_like(gate), d_up = at::empty_like(up);
  const Rows rows(gate);
  check_launch(
      cuda::swiglu_backward(kernel_type(gate, "swiglu"), rows.count, rows.width, gate.data_ptr(),
                            up.data_ptr(), rows.width, dy.data_ptr(), d_gate.data_ptr(),
                            d_up.data_ptr(), rows.width, stream_of(gate)),
      "swiglu");
  return {d_gate, d_up};
}

}  // namespace

const ElementwiseBackend kCudaElementwise{norm, norm_backward, rotate, gated, gated_backward};

}  // namespace luce
#endif
