// What the launchers of CUDA kernels share.
#pragma once

#if defined(LUCE_CUDA)
#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "cuda/kernels.h"
#include "luce/base/error.h"
#include "luce/ops/head.h"

namespace luce {

/// The stream that LibTorch's operators use on the tensor's device.
inline void* stream_of(const Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.get_device()).stream();
}

/// Throws ResourceError where a launcher reports an error of CUDA.
inline void check_launch(int error, const char* where) {
  if (error != 0)
    throw ResourceError(
        cat("[", where, "] the GPU did not take the work: ", cuda::cuda_error_text(error)));
}

/// Throws ArgumentError on dtypes that the kernels do not read.
inline cuda::Type kernel_type(const Tensor& tensor, const char* where) {
  if (tensor.scalar_type() == at::kFloat) return cuda::Type::f32;
  if (tensor.scalar_type() == at::kDouble) return cuda::Type::f64;
  if (tensor.scalar_type() == at::kBFloat16) return cuda::Type::bf16;
  throw ArgumentError(cat("[", where, "] expected f32, f64 or bf16 on a GPU; got ", shown(tensor)));
}

inline void* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr() : nullptr;
}

/// A list of the host on the device. It may be changed or freed at once: a copy out of memory that
/// is not pinned has read it when the call returns, and the program does not wait for the GPU.
inline Tensor on_device(const std::vector<int64_t>& values, const Tensor& like) {
  return at::tensor(values, at::kLong).to(like.device(), at::kLong, true);
}

/// What x = hidden @ weightᵀ goes through to become z.
inline kernels::LogitMap<double> logit_map(const LogitOptions& o) {
  if (o.softcap > 0)
    return {.scale = o.logit_scale, .cap = o.softcap, .after = o.softcap / o.temperature};
  return {.scale = o.logit_scale / o.temperature};
}

/// x [n, V] in f32 for hidden [n, D] and weight [V, D] in f32 or bf16, written to `out`.
inline void logits_into(Tensor& out, const Tensor& hidden, const Tensor& weight) {
  if (out.numel() == 0) return;
  if (hidden.scalar_type() == at::kFloat)
    at::mm_out(out, hidden, weight.t());
  else
    at::mm_out(out, hidden, weight.t(), at::kFloat);
}

inline cuda::LogitRows logit_rows(const Tensor& logits, const LogitOptions& o) {
  return {.type = cuda::Type::f32,
          .data = logits.data_ptr(),
          .rows = logits.size(0),
          .vocabulary = logits.size(1),
          .stride = logits.size(1),
          .map = logit_map(o)};
}

/// Where the gradient of `logits` goes: in their place, or to a tensor of the model's dtype.
inline Tensor gradient_like(const Tensor& logits, const Tensor& hidden) {
  if (hidden.scalar_type() == at::kFloat) return logits;
  return at::empty(logits.sizes(), logits.options().dtype(hidden.scalar_type()));
}

inline cuda::GradientRows gradient_rows(const Tensor& dx, const Tensor& logits) {
  if (dx.is_same(logits)) return {};
  return {.data = dx.data_ptr(), .type = cuda::Type::bf16, .stride = dx.size(1)};
}

/// Adds dx @ weight to d_hidden and, where it is defined, dxᵀ @ hidden to d_weight.
inline void add_products(const Tensor& dx, const Tensor& hidden, const Tensor& weight,
                         Tensor& d_hidden, Tensor& d_weight) {
  if (dx.numel() == 0) return;
  d_hidden.addmm_(dx, weight);
  if (!d_weight.defined()) return;
  if (d_weight.scalar_type() == dx.scalar_type())
    d_weight.addmm_(dx.t(), hidden);
  else
    at::addmm_out(d_weight, d_weight, dx.t(), hidden, d_weight.scalar_type());
}

}  // namespace luce
#endif
