// Drawing on a GPU: the logits of all rows by one matrix product for each model, then kernels that
// sort nothing. Numbers and seen tokens go there in one transfer, and what was drawn comes back in
// one.
#if defined(LUCE_CUDA)
#include "ops/draw_cuda.h"

#include <ATen/ATen.h>

#include <bit>
#include <cstring>

#include "ops/cuda_launch.h"
#include "ops/head_backend.h"

namespace luce {
namespace {

Tensor logits_of(const HeadSide& side, Tensor* kept) {
  const int64_t m = side.hidden.size(0), vocabulary = side.weight.size(0);
  Tensor logits = chunk_buffer(kept, m * vocabulary, side.hidden, at::kFloat).view({m, vocabulary});
  logits_into(logits, side.hidden, side.weight);
  return logits;
}

/// What the rows are drawn with on the device: the numbers, and with a penalty where each row's
/// seen tokens begin, and the tokens.
struct Numbers {
  Tensor words;
  int64_t rows;

  Numbers(const DrawRows& in, bool penalises, const Tensor& like)
      : rows(static_cast<int64_t>(in.uniform.size())) {
    std::vector<int64_t> all;
    for (const double u : in.uniform) all.push_back(std::bit_cast<int64_t>(u));
    if (penalises) {
      int64_t count = 0;
      all.push_back(count);
      for (const auto* seen : in.seen) all.push_back(count += static_cast<int64_t>(seen->size()));
      for (const auto* seen : in.seen) all.insert(all.end(), seen->begin(), seen->end());
    }
    words = on_device(all, like);
  }
  const int64_t* offsets() const { return words.const_data_ptr<int64_t>() + rows; }
  const int64_t* seen() const { return offsets() + rows + 1; }
  const double* uniform() const { return static_cast<const double*>(words.const_data_ptr()); }
};

Drawn on_host(const Tensor& drawn) {
  const Tensor host = drawn.to(at::kCPU);
  std::vector<cuda::DrawnToken> tokens(static_cast<size_t>(host.size(0)));
  std::memcpy(tokens.data(), host.const_data_ptr(), host.nbytes());
  Drawn out;
  for (const auto& token : tokens) {
    out.ids.push_back(token.id);
    out.logps.push_back(token.log_prob);
    out.tempered.push_back(token.tempered);
    out.drawn.push_back(token.drawn);
  }
  return out;
}

}  // namespace

Drawn cuda_draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
                const DrawOptions& o, DrawWorkspace& workspace) {
  const int64_t m = first.hidden.size(0), vocabulary = first.weight.size(0);
  if (m == 0) return {};
  const c10::cuda::CUDAGuard device(first.hidden.device());
  const bool penalises = o.repetition_penalty != 1;
  const Tensor logits = logits_of(first, &workspace.logits);
  LogitOptions at_temperature = first.logits;
  if (o.temperature != 0) at_temperature.temperature = o.temperature;
  const Numbers numbers(rows, penalises, logits);
  cuda::DrawRows in{.first = logit_rows(logits, first.logits),
                    .second_weight = o.second_weight,
                    .tempered = logit_map(at_temperature),
                    .uniform = numbers.uniform(),
                    .repetition_penalty = o.repetition_penalty,
                    .temperature = o.temperature,
                    .top_k = o.top_k,
                    .top_p = o.top_p,
                    .min_p = o.min_p};
  if (penalises) {
    in.seen_offsets = numbers.offsets();
    in.seen = numbers.seen();
  }
  if (second != nullptr)
    in.second = logit_rows(logits_of(*second, &workspace.second), second->logits);
  if (penalises || second != nullptr)
    in.mixed =
        chunk_buffer(&workspace.rows, m * vocabulary, logits, at::kFloat).mutable_data_ptr<float>();
  static_assert(sizeof(cuda::DrawnToken) == 4 * sizeof(int64_t));
  const Tensor working = at::empty({m, cuda::kDrawRowBytes}, logits.options().dtype(at::kByte)),
               drawn = at::empty({m, 4}, numbers.words.options());
  check_launch(
      cuda::draw_tokens(in, working.data_ptr(), static_cast<cuda::DrawnToken*>(drawn.data_ptr()),
                        stream_of(logits)),
      "draw");
  return on_host(drawn);
}

}  // namespace luce
#endif
