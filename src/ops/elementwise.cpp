#include "luce/ops/elementwise.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "luce/base/error.h"
#include "ops/elementwise_backend.h"

namespace luce {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const ElementwiseBackend& backend(const Tensor& x) {
  if (x.scalar_type() != at::kDouble) {
    if (x.is_cpu()) return kCpuElementwise;
#if defined(LUCE_CUDA)
    if (x.is_cuda()) return kCudaElementwise;
#endif
  }
  return kComposedElementwise;
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& w, double eps) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto out = backend(x).norm(x.contiguous(), Tensor(), w, eps);
    ctx->save_for_backward({x, w, out.rstd});
    return out.y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    const auto out = backend(saved[0]).norm_backward(saved[0].contiguous(), saved[1], saved[2],
                                                     grads[0].contiguous(), Tensor());
    return {out.dx, out.dw, Tensor()};
  }
};

class AddRmsNorm : public torch::autograd::Function<AddRmsNorm> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& residual,
                               const Tensor& w, double eps) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto out = backend(x).norm(x.contiguous(), residual.contiguous(), w, eps);
    ctx->save_for_backward({out.sum, w, out.rstd});
    ctx->set_materialize_grads(false);
    return {out.sum, out.y};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    if (!grads[1].defined()) return {grads[0], grads[0], Tensor(), Tensor()};
    const Tensor d_sum = grads[0].defined() ? grads[0].contiguous() : Tensor();
    const auto out =
        backend(saved[0]).norm_backward(saved[0], saved[1], saved[2], grads[1].contiguous(), d_sum);
    return {out.dx, out.dx, out.dw, Tensor()};
  }
};

class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& cos,
                        const Tensor& sin) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    ctx->save_for_backward({cos, sin});
    return backend(x).rotate(x.contiguous(), cos, sin, false);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    return {backend(grads[0]).rotate(grads[0].contiguous(), saved[0], saved[1], true), Tensor(),
            Tensor()};
  }
};

class Swiglu : public torch::autograd::Function<Swiglu> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    ctx->save_for_backward({gate, up});
    return backend(gate).swiglu(gate.contiguous(), up.contiguous());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    const auto [gate, up] = backend(saved[0]).swiglu_backward(
        saved[0].contiguous(), saved[1].contiguous(), grads[0].contiguous());
    return {gate, up};
  }
};

void check_norm(const Tensor& x, const Tensor& w, const char* where) {
  expect_dim(x, 2, where, "x");
  expect_dim(w, 1, where, "w");
  if (w.size(0) != x.size(1) || w.scalar_type() != x.scalar_type())
    throw ArgumentError(cat("[", where, "] expected x [N, D] and w [D] of one dtype; got ",
                            shown(x), ", ", shown(w)));
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) {
  check_norm(x, w, "rms_norm");
  return RmsNorm::apply(x, w, eps);
}

Normed add_rms_norm(const Tensor& x, const Tensor& residual, const Tensor& w, double eps) {
  check_norm(x, w, "add_rms_norm");
  if (residual.sizes() != x.sizes() || residual.scalar_type() != x.scalar_type())
    throw ArgumentError(
        cat("[add_rms_norm] x and residual must be alike; got ", shown(x), ", ", shown(residual)));
  const auto out = AddRmsNorm::apply(x, residual, w, eps);
  return {out[0], out[1]};
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
  if (table.cos.size(0) != x.size(0) || 2 * table.cos.size(1) != x.size(2))
    throw ArgumentError(cat("[rotate] expected x [N, H, d] and angles [N, d/2]; got ", shown(x),
                            ", ", shown(table.cos)));
  return Rotate::apply(x, table.cos, table.sin);
}

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  if (gate.sizes() != up.sizes() || gate.scalar_type() != up.scalar_type())
    throw ArgumentError(
        cat("[swiglu] gate and up must be alike; got ", shown(gate), ", ", shown(up)));
  return Swiglu::apply(gate, up);
}

}  // namespace luce
