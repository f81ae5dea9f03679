// AdamW on a GPU: all weights in one launch.
#if defined(LUCE_CUDA)
#include <cmath>

#include "ops/adamw_backend.h"
#include "ops/cuda_launch.h"

namespace luce {
namespace {

/// A list for the kernels, on the device.
struct List {
  Tensor bytes;
  int64_t count = 0, chunks = 0;

  List(std::vector<cuda::AdamWTensor>& tensors, const Tensor& like)
      : count(static_cast<int64_t>(tensors.size())),
        chunks(cuda::number_chunks(tensors.data(), count)) {
    const auto size = static_cast<int64_t>(tensors.size() * sizeof(cuda::AdamWTensor));
    bytes = at::from_blob(tensors.data(), {size}, at::kByte).to(like.device());
  }
  const cuda::AdamWTensor* data() const {
    return static_cast<const cuda::AdamWTensor*>(bytes.data_ptr());
  }
};

}  // namespace

void cuda_adamw(std::vector<AdamWTensor>& tensors, const AdamWUpdate& u) {
  const Tensor& first = tensors.front().weight;
  const c10::cuda::CUDAGuard device(first.device());
  std::vector<cuda::AdamWTensor> entries;
  for (auto& t : tensors)
    entries.push_back({.gradient = t.grad.data_ptr(),
                       .weight = t.weight.data_ptr(),
                       .m = t.m.data_ptr(),
                       .v = t.v.data_ptr(),
                       .copy = t.work.defined() && t.work.scalar_type() == at::kBFloat16
                                   ? t.work.data_ptr()
                                   : nullptr,
                       .count = t.weight.numel(),
                       .decay_factor = t.weight_decay});
  const List list(entries, first);
  const kernels::AdamWStep<double> step{.lr = u.lr,
                                        .beta1 = u.beta1,
                                        .beta2 = u.beta2,
                                        .epsilon = u.epsilon,
                                        .decay = 1,
                                        .gradient_scale = u.gradient_scale,
                                        .correction1 = u.correction1,
                                        .sqrt_correction2 = std::sqrt(u.correction2)};
  check_launch(cuda::adamw(kernel_type(first, "adamw"), list.data(), list.count, list.chunks, step,
                           nullptr, stream_of(first)),
               "adamw");
  for (auto& t : tensors) {
    // Writes through a pointer are not seen by those who cache what they made of a weight.
    t.weight.unsafeGetTensorImpl()->bump_version();
    if (!t.work.defined()) continue;
    if (t.work.scalar_type() == at::kBFloat16)
      t.work.unsafeGetTensorImpl()->bump_version();
    else
      t.work.copy_(t.weight);
  }
}

double cuda_sum_of_squares(const std::vector<Tensor>& tensors) {
  const Tensor& first = tensors.front();
  const c10::cuda::CUDAGuard device(first.device());
  std::vector<Tensor> kept;
  std::vector<cuda::AdamWTensor> entries;
  for (const Tensor& t : tensors) {
    kept.push_back(t.contiguous());
    entries.push_back({.gradient = kept.back().data_ptr(), .count = t.numel()});
  }
  const List list(entries, first);
  if (list.chunks == 0) return 0;
  const Tensor partials = at::empty({list.chunks}, first.options().dtype(at::kDouble)),
               out = at::empty({1}, partials.options());
  check_launch(
      cuda::squared_norm(kernel_type(first, "sum_of_squares"), list.data(), list.count, list.chunks,
                         partials.data_ptr<double>(), out.data_ptr<double>(), stream_of(first)),
      "sum_of_squares");
  return out.item<double>();
}

}  // namespace luce
#endif
