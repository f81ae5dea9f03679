// Statistics of softmax rows in one read (Milakov & Gimelshein, arXiv:1805.02867), and the gradient
// of the logits in another:
//   dz_v = p_v (a + b log p_v + c p_v) + m  +  Σ g_k at each token k asked for     (formulas.h)
// One block per row.
#include "rows.cuh"

namespace luce::cuda {
namespace {

/// z of a token, NaN where there is no such token.
template <class S>
__device__ S z_of(const Rows<S>& rows, const S* row, int64_t token, bool mapped) {
  if (token < 0 || token >= rows.size) return S(NAN);
  return mapped ? row[token] : rows.map.value(row[token]);
}

template <class S>
__global__ void __launch_bounds__(kRowThreads, 2)
    statistics_kernel(Rows<S> rows, const int64_t* targets, Statistics<S> out, bool write_back) {
  __shared__ RowState<S> slots[32];
  S* row = rows.row(blockIdx.x);
  RowState<S> state = empty_row<S>();
  walk(row, rows.size, [&](int place, auto& x) {
#pragma unroll
    for (auto& value : x) value = rows.z(value);
    if (write_back) store(row + place, std::extent_v<std::remove_reference_t<decltype(x)>>, x);
    add(state, place, x);
  });
  state = block_merged(state, slots);
  if (threadIdx.x > 0) return;
  const int64_t target = targets == nullptr ? -1 : targets[blockIdx.x];
  out.write(blockIdx.x, state, rows.size, target,
            z_of(rows, row, target, rows.mapped || write_back));
}

template <class S>
__global__ void candidates_kernel(Rows<S> rows, int64_t count, const S* lse, const int64_t* offsets,
                                  const int64_t* ids, S* log_probs) {
  const int64_t row = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / 32;  // a warp each
  if (row >= count) return;
  for (int64_t k = offsets[row] + threadIdx.x % 32; k < offsets[row + 1]; k += 32)
    log_probs[k] = z_of(rows, rows.row(row), ids[k], rows.mapped) - lse[row];
}

/// Tokens of a row that get a gradient of their own: the target, then the candidates.
template <class S>
struct Tokens {
  int64_t target;
  S target_log_prob, target_gradient;
  int64_t count;  // of candidates
  const int64_t* ids;
  const S *log_probs, *gradients;

  __device__ int64_t id(int64_t i) const { return i == 0 ? target : ids[i - 1]; }
  __device__ S log_prob(int64_t i) const { return i == 0 ? target_log_prob : log_probs[i - 1]; }
  __device__ S gradient(int64_t i) const { return i == 0 ? target_gradient : gradients[i - 1]; }
  /// Σ of the gradients of one token, or false where an entry before i has done it.
  __device__ bool total(int64_t i, S* sum) const {
    for (int64_t j = 0; j < i; ++j)
      if (id(j) == id(i)) return false;
    *sum = S(0);
    for (int64_t j = i; j <= count; ++j)
      if (id(j) == id(i)) *sum += gradient(j);
    return true;
  }
};

template <class S, class Out>
__global__ void __launch_bounds__(kRowThreads, 2)
    gradient_kernel(Rows<S> rows, const int64_t* targets, Gradients<S> upstream,
                    Statistics<S> saved, const int64_t* offsets, const int64_t* ids,
                    const S* candidate_log_probs, const S* candidate_gradients, Out* out,
                    int64_t out_stride) {
  const int64_t index = blockIdx.x;
  const S* row = rows.row(index);
  Out* out_row = out + index * out_stride;
  const S lse = saved.lse[index];

  const int64_t begin = offsets == nullptr ? 0 : offsets[index];
  const int64_t target = targets == nullptr ? -1 : targets[index];
  const Tokens<S> tokens{target,
                         z_of(rows, row, target, rows.mapped) - lse,
                         Gradients<S>::at(upstream.log_prob, index),
                         offsets == nullptr ? 0 : offsets[index + 1] - begin,
                         ids + begin,
                         candidate_log_probs + begin,
                         candidate_gradients + begin};
  S g[1] = {threadIdx.x == 0 ? tokens.target_gradient : S(0)};
  for (int64_t k = threadIdx.x; k < tokens.count; k += blockDim.x) g[0] += tokens.gradients[k];
  block_sum(g);  // and all threads have read the target's logit before anything is overwritten
  const kernels::RowSlopes<S> slopes =
      kernels::row_slopes(g[0], Gradients<S>::at(upstream.entropy, index),
                          upstream.entropy == nullptr ? S(0) : saved.entropy[index],
                          Gradients<S>::at(upstream.log_sum_p2, index),
                          upstream.log_sum_p2 == nullptr ? S(0) : saved.log_sum_p2[index],
                          Gradients<S>::at(upstream.mean_logit, index) / static_cast<S>(rows.size));

  walk(row, rows.size, [&](int place, auto& x) {
#pragma unroll
    for (auto& value : x) {
      const S z = rows.z(value);
      value = kernels::logit_gradient(slopes, z - lse) * rows.map.slope(z);
    }
    store(out_row + place, std::extent_v<std::remove_reference_t<decltype(x)>>, x);
  });
  __syncthreads();
  for (int64_t i = threadIdx.x; i <= tokens.count; i += blockDim.x) {
    const int64_t token = tokens.id(i);
    S sum;
    if (token < 0 || token >= rows.size || !tokens.total(i, &sum)) continue;
    const S log_p = tokens.log_prob(i);
    out_row[token] =
        narrow<Out>((kernels::logit_gradient(slopes, log_p) + sum) * rows.map.slope(log_p + lse));
  }
}

}  // namespace

int head_statistics(const LogitRows& logits, const int64_t* targets, const RowStatistics& out,
                    bool write_back, void* stream) {
  const bool needs_target = out.log_prob != nullptr || out.greedy_match != nullptr;
  if (!valid(logits) || (needs_target && targets == nullptr)) return cudaErrorInvalidValue;
  if (logits.rows == 0) return cudaSuccess;
  const Grid grid{dim3(static_cast<unsigned>(logits.rows)), row_threads(logits.vocabulary)};
  return for_wide_type(logits.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const auto rows = rows_of<S>(logits);
    return launch(statistics_kernel<S>, grid, stream, rows, targets, statistics_of<S>(out),
                  write_back && !rows.mapped);
  });
}

int head_candidates(const LogitRows& logits, const void* lse, const CandidateList& candidates,
                    void* stream) {
  if (!valid(logits)) return cudaErrorInvalidValue;
  if (logits.rows == 0) return cudaSuccess;
  return for_wide_type(logits.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return launch(candidates_kernel<S>, {dim3(blocks_for(logits.rows, 8)), 256}, stream,
                  rows_of<S>(logits), logits.rows, static_cast<const S*>(lse), candidates.offsets,
                  candidates.ids, static_cast<S*>(candidates.log_probs));
  });
}

int head_gradient(const LogitRows& logits, const int64_t* targets, const RowGradients& upstream,
                  const RowStatistics& saved, const CandidateList& candidates,
                  const GradientRows& out, void* stream) {
  const bool fits = (upstream.log_prob == nullptr || targets != nullptr) && saved.lse != nullptr &&
                    (upstream.entropy == nullptr || saved.entropy != nullptr) &&
                    (upstream.log_sum_p2 == nullptr || saved.log_sum_p2 != nullptr);
  if (!valid(logits) || !fits) return cudaErrorInvalidValue;
  if (logits.rows == 0) return cudaSuccess;
  const Grid grid{dim3(static_cast<unsigned>(logits.rows)), row_threads(logits.vocabulary)};
  return for_wide_type(logits.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return for_output<S>(logits, out, [&](auto* data, int64_t stride) {
      using Out = std::remove_pointer_t<decltype(data)>;
      return launch(gradient_kernel<S, Out>, grid, stream, rows_of<S>(logits),
                    upstream.log_prob == nullptr ? nullptr : targets, gradients_of<S>(upstream),
                    statistics_of<S>(saved), candidates.offsets, candidates.ids,
                    static_cast<const S*>(candidates.log_probs),
                    static_cast<const S*>(candidates.gradients), data, stride);
    });
  });
}

}  // namespace luce::cuda
