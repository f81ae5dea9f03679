// The head on a GPU: logits of a chunk by one matrix product in f32, then kernels over its rows.
#if defined(LUCE_CUDA)
#include "ops/cuda_launch.h"
#include "ops/head_backend.h"

namespace luce {
namespace {

/// The most tokens per row that head_top_k gives.
constexpr int64_t kKernelTopK = 64;

class CudaHead : public HeadBackend {
 public:
  CudaHead(const HeadInputs& in, const HeadOptions& o) : in_(in), o_(o) {}

  HeadStats forward(int64_t begin, int64_t n) override {
    const c10::cuda::CUDAGuard device(in_.hidden.device());
    void* stream = stream_of(in_.hidden);
    const int64_t vocabulary = in_.weight.size(0);
    hidden_ = in_.hidden.narrow(0, begin, n);
    targets_ = in_.targets.narrow(0, begin, n);
    logits_ = chunk_buffer(o_.workspace == nullptr ? nullptr : &o_.workspace->logits,
                           n * vocabulary, in_.hidden, at::kFloat)
                  .view({n, vocabulary});
    logits_into(logits_, hidden_, in_.weight);
    rows_ = logit_rows(logits_, o_.logits);

    const auto per_row = [&](bool asked) {
      return asked ? at::empty({n}, logits_.options()) : Tensor();
    };
    lse_ = per_row(true);
    stats_ = {.logps = per_row(true),
              .entropy = per_row(o_.entropy),
              .log_sum_p2 = per_row(o_.log_sum_p2),
              .greedy_match = per_row(o_.greedy_match),
              .mean_logit = per_row(o_.mean_logit)};
    // LibTorch's search for the likeliest needs z itself.
    const bool write_back = o_.top_k > kKernelTopK;
    check_launch(cuda::head_statistics(rows_, targets_.const_data_ptr<int64_t>(), row_statistics(),
                                       write_back, stream),
                 "head");
    rows_.mapped = write_back;
    if (o_.top_k > 0) take_likeliest(stream);
    if (o_.candidates != nullptr) {
      const Candidates part = candidates_of(*o_.candidates, begin, n);
      offsets_ = on_device(part.offset, logits_);
      ids_ = part.ids.to(logits_.device()).contiguous();
      stats_.candidate_logps = at::empty({ids_.size(0)}, logits_.options());
      check_launch(cuda::head_candidates(rows_, lse_.data_ptr(), candidate_list(Tensor()), stream),
                   "head");
    }
    return stats_;
  }

  void backward(const HeadGradients& g, Tensor& d_hidden, Tensor& d_weight) override {
    const c10::cuda::CUDAGuard device(in_.hidden.device());
    const auto read = [&](const Tensor& t) {
      return t.defined() ? t.to(logits_.device(), at::kFloat).contiguous() : Tensor();
    };
    const Tensor logps = read(g.logps), entropy = read(g.entropy), sum_p2 = read(g.log_sum_p2),
                 mean = read(g.mean_logit), candidates = read(g.candidate_logps);
    const cuda::RowGradients upstream{.log_prob = data_of(logps),
                                      .entropy = data_of(entropy),
                                      .log_sum_p2 = data_of(sum_p2),
                                      .mean_logit = data_of(mean)};
    const Tensor dx = gradient_like(logits_, in_.hidden);
    check_launch(cuda::head_gradient(
                     rows_, targets_.const_data_ptr<int64_t>(), upstream, row_statistics(),
                     candidates.defined() ? candidate_list(candidates) : cuda::CandidateList{},
                     gradient_rows(dx, logits_), stream_of(logits_)),
                 "head_backward");
    add_products(dx, hidden_, in_.weight, d_hidden, d_weight);
  }

  Logits logits() const override {
    if (rows_.mapped) return {logits_, lse_};
    const c10::cuda::CUDAGuard device(in_.hidden.device());
    const Tensor z = logits_.clone(), lse = at::empty_like(lse_);
    check_launch(cuda::head_statistics(logit_rows(z, o_.logits), nullptr, {.lse = lse.data_ptr()},
                                       true, stream_of(z)),
                 "head_logits");
    return {z, lse_};
  }

 private:
  cuda::RowStatistics row_statistics() const {
    return {.log_prob = data_of(stats_.logps),
            .lse = data_of(lse_),
            .entropy = data_of(stats_.entropy),
            .log_sum_p2 = data_of(stats_.log_sum_p2),
            .greedy_match = data_of(stats_.greedy_match),
            .mean_logit = data_of(stats_.mean_logit)};
  }

  cuda::CandidateList candidate_list(const Tensor& gradients) const {
    return {.offsets = offsets_.const_data_ptr<int64_t>(),
            .ids = ids_.const_data_ptr<int64_t>(),
            .log_probs = data_of(stats_.candidate_logps),
            .gradients = data_of(gradients)};
  }

  void take_likeliest(void* stream) {
    const int64_t n = logits_.size(0), k = o_.top_k;
    if (k > kKernelTopK) {
      const auto [values, ids] = logits_.topk(k, 1);
      stats_.top_ids = ids;
      stats_.top_logps = values - lse_.unsqueeze(1);
      return;
    }
    stats_.top_ids = at::empty({n, k}, in_.targets.options());
    stats_.top_logps = at::empty({n, k}, logits_.options());
    check_launch(cuda::head_top_k(rows_, lse_.data_ptr(), k, stats_.top_ids.data_ptr<int64_t>(),
                                  stats_.top_logps.data_ptr(), stream),
                 "head");
  }

  HeadInputs in_;
  HeadOptions o_;
  Tensor hidden_, targets_, logits_, lse_, offsets_, ids_;  // of the last forward
  cuda::LogitRows rows_;
  HeadStats stats_;
};

}  // namespace

std::unique_ptr<HeadBackend> cuda_head(const HeadInputs& inputs, const HeadOptions& options) {
  return std::make_unique<CudaHead>(inputs, options);
}

}  // namespace luce
#endif
