#include "luce/ops/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "kernels/kernels.h"
#include "ops/adamw_backend.h"

namespace luce {
namespace {

/// Elements that are summed or updated together by one thread.
constexpr int64_t kBlock = 1 << 14;

bool has_cpu_kernel(const AdamWTensor& t) {
  return t.weight.is_cpu() && t.weight.scalar_type() == at::kFloat &&
         (!t.work.defined() || t.work.scalar_type() == at::kBFloat16);
}

void update_on_cpu(AdamWTensor& t, const AdamWUpdate& u) {
  const kernels::AdamWStep<float> step{
      .lr = static_cast<float>(u.lr),
      .beta1 = static_cast<float>(u.beta1),
      .beta2 = static_cast<float>(u.beta2),
      .epsilon = static_cast<float>(u.epsilon),
      .decay = static_cast<float>(t.weight_decay),
      .gradient_scale = static_cast<float>(u.gradient_scale),
      .correction1 = static_cast<float>(u.correction1),
      .sqrt_correction2 = static_cast<float>(std::sqrt(u.correction2)),
      .rest1 = static_cast<float>(1 - u.beta1),
      .rest2 = static_cast<float>(1 - u.beta2),
  };
  const float* g = t.grad.const_data_ptr<float>();
  float *w = t.weight.data_ptr<float>(), *m = t.m.data_ptr<float>(), *v = t.v.data_ptr<float>();
  auto* work = t.work.defined() ? static_cast<uint16_t*>(t.work.data_ptr()) : nullptr;
  at::parallel_for(0, t.weight.numel(), kBlock, [&](int64_t begin, int64_t end) {
    kernels::table().adamw(end - begin, step, g + begin, w + begin, m + begin, v + begin,
                           work == nullptr ? nullptr : work + begin);
  });
  // Writes through a pointer are not seen by those who cache what they made of a weight.
  t.weight.unsafeGetTensorImpl()->bump_version();
  if (work != nullptr) t.work.unsafeGetTensorImpl()->bump_version();
}

/// The definition, in LibTorch's operators.
void update_composed(AdamWTensor& t, const AdamWUpdate& u) {
  if (u.gradient_scale != 1) t.grad.mul_(u.gradient_scale);
  t.m.lerp_(t.grad, 1 - u.beta1);
  t.v.mul_(u.beta2).addcmul_(t.grad, t.grad, 1 - u.beta2);
  if (t.weight_decay != 0) t.weight.mul_(1 - u.lr * t.weight_decay);
  const Tensor denominator = t.v.sqrt().mul_(1 / std::sqrt(u.correction2)).add_(u.epsilon);
  t.weight.addcdiv_(t.m, denominator, -u.lr / u.correction1);
  if (t.work.defined()) t.work.copy_(t.weight);
}

double squares_on_cpu(const Tensor& x) {
  const int64_t n = x.numel(), blocks = (n + kBlock - 1) / kBlock;
  const float* values = x.const_data_ptr<float>();
  std::vector<double> sums(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 8, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      sums[static_cast<size_t>(i)] =
          kernels::table().sum_of_squares(std::min(kBlock, n - i * kBlock), values + i * kBlock);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace

void adamw(std::vector<AdamWTensor>& tensors, const AdamWUpdate& update) {
#if defined(LUCE_CUDA)
  if (!tensors.empty() && tensors.front().weight.is_cuda() &&
      tensors.front().weight.scalar_type() == at::kFloat)
    return cuda_adamw(tensors, update);
#endif
  for (auto& t : tensors)
    if (has_cpu_kernel(t))
      update_on_cpu(t, update);
    else
      update_composed(t, update);
}

double sum_of_squares(const std::vector<Tensor>& tensors) {
#if defined(LUCE_CUDA)
  if (!tensors.empty() && tensors.front().is_cuda() && tensors.front().scalar_type() == at::kFloat)
    return cuda_sum_of_squares(tensors);
#endif
  double total = 0;
  for (const Tensor& t : tensors)
    total += t.is_cpu() && t.scalar_type() == at::kFloat
                 ? squares_on_cpu(t.contiguous())
                 : t.square().sum(at::kDouble).item<double>();
  return total;
}

}  // namespace luce
