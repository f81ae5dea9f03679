// Divergences of two softmax rows p and q, and their gradient to the logits of p:
//   D = Σ_v d_v      ∂D/∂z_v = p_v f_v − p_v Σ_u p_u f_u                           (formulas.h)
// One block per row; each kernel reads both rows once.
#include "rows.cuh"

namespace luce::cuda {
namespace {

template <class S>
struct Pair {
  Rows<S> p, q;
  const S *p_lse, *q_lse;
  S beta;
};

template <DivergenceKind kKind, class S>
__device__ __forceinline__ kernels::DivergenceTerm<S> term(S log_p, S log_q, S beta) {
  if constexpr (kKind == DivergenceKind::forward_kl)
    return kernels::kl_forward(log_p, log_q);
  else if constexpr (kKind == DivergenceKind::reverse_kl)
    return kernels::kl_reverse(log_p, log_q);
  else
    return kernels::jensen_shannon(log_p, log_q, beta);
}

/// Calls fn(place, z_p, log_q) over a row: one element or a pack of p's row.
template <class S, class Fn>
__device__ __forceinline__ void walk_pair(const Pair<S>& pair, const Fn& fn) {
  const S* q_row = pair.q.row(blockIdx.x);
  const S q_lse = pair.q_lse[blockIdx.x];
  walk(pair.p.row(blockIdx.x), pair.p.size, [&](int place, auto& x) {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(x)>>;
    S log_q[N];
    load<N>(q_row + place, N, log_q);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      x[j] = pair.p.z(x[j]);
      log_q[j] = pair.q.z(log_q[j]) - q_lse;
    }
    fn(place, x, log_q);
  });
}

template <DivergenceKind kKind, class S>
__global__ void __launch_bounds__(kRowThreads, 2)
    value_kernel(Pair<S> pair, S* value, S* slope_sum) {
  const S p_lse = pair.p_lse[blockIdx.x];
  S sums[2] = {S(0), S(0)};
  walk_pair(pair, [&](int, const auto& z, const auto& log_q) {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(z)>>;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const auto d = term<kKind>(z[j] - p_lse, log_q[j], pair.beta);
      sums[0] += d.value;
      sums[1] += d.slope;
    }
  });
  block_sum(sums);
  if (threadIdx.x > 0) return;
  if (value != nullptr) value[blockIdx.x] = sums[0];
  if (slope_sum != nullptr) slope_sum[blockIdx.x] = sums[1];
}

template <DivergenceKind kKind, class S, class Out>
__global__ void __launch_bounds__(kRowThreads, 2)
    gradient_kernel(Pair<S> pair, const S* slope_sum, const S* upstream, Out* out, int64_t stride) {
  const S p_lse = pair.p_lse[blockIdx.x], sum = slope_sum[blockIdx.x], g = upstream[blockIdx.x];
  Out* out_row = out + blockIdx.x * stride;
  walk_pair(pair, [&](int place, auto& z, const auto& log_q) {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(z)>>;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const S log_p = z[j] - p_lse;
      const S slope = term<kKind>(log_p, log_q[j], pair.beta).slope;
      z[j] = g * (slope - kernels::exp_of(log_p) * sum) * pair.p.map.slope(z[j]);
    }
    store<N>(out_row + place, N, z);
  });
}

bool valid(const DivergenceRows& rows) {
  return valid(rows.p) && valid(rows.q) && rows.p.type == rows.q.type &&
         rows.p.rows == rows.q.rows && rows.p.vocabulary == rows.q.vocabulary &&
         rows.p_lse != nullptr && rows.q_lse != nullptr;
}

template <class S>
Pair<S> pair_of(const DivergenceRows& rows) {
  return {rows_of<S>(rows.p), rows_of<S>(rows.q), static_cast<const S*>(rows.p_lse),
          static_cast<const S*>(rows.q_lse), static_cast<S>(rows.beta)};
}

/// Calls fn with the kind as a constant.
template <class Fn>
int for_kind(DivergenceKind kind, const Fn& fn) {
  using Kind = DivergenceKind;
  switch (kind) {
    case Kind::forward_kl:
      return fn(std::integral_constant<Kind, Kind::forward_kl>());
    case Kind::reverse_kl:
      return fn(std::integral_constant<Kind, Kind::reverse_kl>());
    case Kind::jensen_shannon:
      return fn(std::integral_constant<Kind, Kind::jensen_shannon>());
  }
  return cudaErrorInvalidValue;
}

Grid grid_of(const DivergenceRows& rows) {
  return {dim3(static_cast<unsigned>(rows.p.rows)), row_threads(rows.p.vocabulary)};
}

}  // namespace

int divergence_value(const DivergenceRows& rows, void* value, void* slope_sum, void* stream) {
  if (!valid(rows)) return cudaErrorInvalidValue;
  if (rows.p.rows == 0) return cudaSuccess;
  return for_wide_type(rows.p.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return for_kind(rows.kind, [&](auto kind) {
      return launch(value_kernel<decltype(kind)::value, S>, grid_of(rows), stream, pair_of<S>(rows),
                    static_cast<S*>(value), static_cast<S*>(slope_sum));
    });
  });
}

int divergence_gradient(const DivergenceRows& rows, const void* slope_sum, const void* upstream,
                        const GradientRows& out, void* stream) {
  if (!valid(rows) || slope_sum == nullptr || upstream == nullptr) return cudaErrorInvalidValue;
  if (rows.p.rows == 0) return cudaSuccess;
  return for_wide_type(rows.p.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return for_kind(rows.kind, [&](auto kind) {
      return for_output<S>(rows.p, out, [&](auto* data, int64_t stride) {
        using Out = std::remove_pointer_t<decltype(data)>;
        return launch(gradient_kernel<decltype(kind)::value, S, Out>, grid_of(rows), stream,
                      pair_of<S>(rows), static_cast<const S*>(slope_sum),
                      static_cast<const S*>(upstream), data, stride);
      });
    });
  });
}

}  // namespace luce::cuda
