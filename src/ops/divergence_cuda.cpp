// Exact divergences on a GPU: the logits of both sides of a chunk, see head_cuda.cpp.
#if defined(LUCE_CUDA)
#include "ops/cuda_launch.h"
#include "ops/head_backend.h"

namespace luce {
namespace {

cuda::DivergenceKind kind_of(Divergence kind) {
  switch (kind) {
    case Divergence::forward_kl:
      return cuda::DivergenceKind::forward_kl;
    case Divergence::reverse_kl:
      return cuda::DivergenceKind::reverse_kl;
    case Divergence::jensen_shannon:
      return cuda::DivergenceKind::jensen_shannon;
  }
  throw ArgumentError("[head_divergence] unknown kind of divergence");
}

class CudaDivergence : public DivergenceBackend {
 public:
  CudaDivergence(const HeadSide& p, const HeadSide& q, const DivergenceOptions& o)
      : o_(o), p_(p), q_(q) {}

  Tensor forward(int64_t begin, int64_t n) override {
    const c10::cuda::CUDAGuard device(p_.hidden.device());
    void* stream = stream_of(p_.hidden);
    const int64_t vocabulary = p_.weight.size(0);
    hidden_ = p_.hidden.narrow(0, begin, n);
    const Tensor both = chunk_buffer(o_.workspace == nullptr ? nullptr : &o_.workspace->logits,
                                     2 * n * vocabulary, p_.hidden, at::kFloat)
                            .view({2, n, vocabulary});
    logits_p_ = both[0];
    logits_q_ = both[1];
    lse_p_ = at::empty({n}, both.options());
    lse_q_ = at::empty({n}, both.options());
    logits_into(logits_p_, hidden_, p_.weight);
    logits_into(logits_q_, q_.hidden.narrow(0, begin, n), q_.weight);
    const auto log_sums = [&](const cuda::LogitRows& rows, const Tensor& lse) {
      check_launch(cuda::head_statistics(rows, nullptr, {.lse = lse.data_ptr()}, false, stream),
                   "head_divergence");
    };
    log_sums(logit_rows(logits_p_, p_.logits), lse_p_);
    log_sums(logit_rows(logits_q_, q_.logits), lse_q_);
    const Tensor value = at::empty({n}, both.options());
    slope_sum_ = at::empty({n}, both.options());
    check_launch(cuda::divergence_value(rows(), value.data_ptr(), slope_sum_.data_ptr(), stream),
                 "head_divergence");
    return value;
  }

  void backward(const Tensor& upstream_in, Tensor& d_hidden, Tensor& d_weight) override {
    const c10::cuda::CUDAGuard device(p_.hidden.device());
    const Tensor upstream = upstream_in.to(logits_p_.device(), at::kFloat).contiguous();
    const Tensor dx = gradient_like(logits_p_, p_.hidden);
    check_launch(cuda::divergence_gradient(rows(), slope_sum_.data_ptr(), upstream.data_ptr(),
                                           gradient_rows(dx, logits_p_), stream_of(logits_p_)),
                 "head_divergence_backward");
    add_products(dx, hidden_, p_.weight, d_hidden, d_weight);
  }

 private:
  cuda::DivergenceRows rows() const {
    return {.p = logit_rows(logits_p_, p_.logits),
            .q = logit_rows(logits_q_, q_.logits),
            .p_lse = lse_p_.data_ptr(),
            .q_lse = lse_q_.data_ptr(),
            .kind = kind_of(o_.kind),
            .beta = o_.beta};
  }

  DivergenceOptions o_;
  HeadSide p_, q_;
  Tensor hidden_, logits_p_, logits_q_, lse_p_, lse_q_, slope_sum_;  // of the last forward
};

}  // namespace

std::unique_ptr<DivergenceBackend> cuda_divergence(const HeadSide& p, const HeadSide& q,
                                                   const DivergenceOptions& options) {
  return std::make_unique<CudaDivergence>(p, q, options);
}

}  // namespace luce
#endif
