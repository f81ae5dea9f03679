#include "luce/ops/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "luce/base/error.h"
#include "ops/tile_gemm.h"

namespace luce {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// x · w, x [N, in], w [in, out], by tiles of rows and columns.
Tensor ordered_product(const Tensor& x, const Tensor& w) {
  constexpr int64_t kRows = 64, kColumns = 64;
  const int64_t n = x.size(0), in = x.size(1), out = w.size(1);
  Tensor y = at::empty({n, out}, x.options());
  const float *a = x.const_data_ptr<float>(), *b = w.const_data_ptr<float>();
  float* c = y.data_ptr<float>();
  const int64_t columns = (out + kColumns - 1) / kColumns, rows = (n + kRows - 1) / kRows;
  // Runs of rows share a block of columns, which stays in cache.
  at::parallel_for(0, columns * rows, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t column = i / rows * kColumns, row = i % rows * kRows;
      tile_gemm(std::min(kRows, n - row), std::min(kColumns, out - column), in, a + row * in, in,
                b + column, out, c + row * out + column, out, false);
    }
    tile_gemm_release();
  });
  return y;
}

class OrderedLinear : public torch::autograd::Function<OrderedLinear> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& w,
                        const Tensor& packed) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    ctx->save_for_backward({x, w});
    return ordered_product(x.contiguous(), packed);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    const Tensor &dy = grads[0], &x = saved[0], &w = saved[1];
    return {at::mm(dy, w), at::mm(dy.t(), x), Tensor()};
  }
};

}  // namespace

const Tensor& PackedWeight::of(const Tensor& weight) {
  const bool same =
      packed_.defined() && source_ == weight.const_data_ptr() && version_ == weight._version();
  if (!same) {
    packed_ = weight.detach().t().contiguous();
    source_ = weight.const_data_ptr();
    version_ = static_cast<uint32_t>(weight._version());
  }
  return packed_;
}

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b) {
  return b.defined() ? at::addmm(b, x, w.t()) : at::mm(x, w.t());
}

Tensor ordered_linear(const Tensor& x, const Tensor& w, const Tensor& b, PackedWeight& packed) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || w.scalar_type() != at::kFloat)
    throw ArgumentError(cat("[ordered_linear] expected f32 on the CPU; got ", shown(x), " on ",
                            x.device().str(), " and ", shown(w)));
  const Tensor y = OrderedLinear::apply(x, w, packed.of(w));
  return b.defined() ? y + b : y;
}

}  // namespace luce
