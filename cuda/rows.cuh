// Rows of logits: how a block walks over one, and what it has learnt of it so far.
#pragma once

#include <climits>

#include "common.cuh"

namespace luce::cuda {

/// LogitRows for a kernel.
template <class S>
struct Rows {
  S* data;
  int64_t stride;
  int size;
  bool mapped;
  kernels::LogitMap<S> map;

  __device__ __forceinline__ S* row(int64_t index) const { return data + index * stride; }
  __device__ __forceinline__ S z(S x) const { return mapped ? x : map.value(x); }
};

template <class S>
Rows<S> rows_of(const LogitRows& logits) {
  const kernels::LogitMap<S> map{static_cast<S>(logits.map.scale), static_cast<S>(logits.map.cap),
                                 static_cast<S>(logits.map.after)};
  const bool identity = map.scale == S(1) && map.cap == S(0);
  return {static_cast<S*>(logits.data), logits.stride, static_cast<int>(logits.vocabulary),
          logits.mapped || identity, map};
}

inline bool valid(const LogitRows& logits) {
  return logits.type != Type::bf16 && logits.vocabulary >= 1 && logits.vocabulary < (1 << 30) &&
         logits.stride >= logits.vocabulary && logits.rows < INT_MAX / 8;
}

/// Threads of the block of a row: two blocks of long rows on a multiprocessor keep 64 KB of loads
/// under way with registers to spare.
inline constexpr int kRowThreads = 512;
inline int row_threads(int64_t size) { return size >= 4096 ? kRowThreads : 128; }

/// A row cut at 16-byte borders: [0, head), whole packs, and what is left. The elements outside of
/// packs, its edges, are fewer than two packs.
template <class S>
struct RowCut {
  int head, packs, edges;

  __device__ __forceinline__ RowCut(const S* row, int size) {
    const int past = static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(S) % kPack<S>);
    head = min((kPack<S> - past) % kPack<S>, size);
    packs = (size - head) / kPack<S>;
    edges = size - packs * kPack<S>;
  }
  /// The place of an edge, and of a pack's first element.
  __device__ __forceinline__ int edge(int i) const { return i < head ? i : i + packs * kPack<S>; }
  __device__ __forceinline__ int pack(int i) const { return head + i * kPack<S>; }
};

/// Calls fn(i, x) for packs first ≤ i < last, spread over the block. Several loads are under way
/// before the first is used.
template <class S, class Fn>
__device__ __forceinline__ void walk_packs(const S* row, const RowCut<S>& cut, int first, int last,
                                           const Fn& fn) {
  constexpr int kAhead = 4;
  const int step = static_cast<int>(blockDim.x);
  int i = first + static_cast<int>(threadIdx.x);
  for (; i + (kAhead - 1) * step < last; i += kAhead * step) {
    S x[kAhead][kPack<S>];
#pragma unroll
    for (int a = 0; a < kAhead; ++a) load_aligned<kPack<S>>(row + cut.pack(i + a * step), x[a]);
#pragma unroll
    for (int a = 0; a < kAhead; ++a) fn(i + a * step, x[a]);
  }
  for (; i < last; i += step) {
    S x[kPack<S>];
    load_aligned<kPack<S>>(row + cut.pack(i), x);
    fn(i, x);
  }
}

/// Calls fn(place, x) for a whole row, spread over the block: x is one element or a pack.
template <class S, class Fn>
__device__ __forceinline__ void walk(const S* row, int size, const Fn& fn) {
  const RowCut<S> cut(row, size);
  if (static_cast<int>(threadIdx.x) < cut.edges) {
    const int place = cut.edge(static_cast<int>(threadIdx.x));
    S x[1] = {row[place]};
    fn(place, x);
  }
  walk_packs(row, cut, 0, cut.packs, [&](int i, S(&x)[kPack<S>]) { fn(cut.pack(i), x); });
}

/// What is known of (a part of) a row.
template <class S>
struct RowState {
  kernels::RowSums<S> sums;
  S best;       // the largest z
  int best_id;  // its first place
};

template <class S>
__device__ __forceinline__ RowState<S> empty_row() {
  return {{kernels::lowest_of(S(0)), S(0), S(0), S(0), S(0)}, -S(HUGE_VAL), INT_MAX};
}

/// Adds neighbours to what a thread knows. A NaN makes the sums NaN.
template <class S, int N>
__device__ __forceinline__ void add(RowState<S>& row, int place, const S (&z)[N]) {
  S top = z[0];
#pragma unroll
  for (int j = 1; j < N; ++j) top = larger(top, z[j]);
  if (top > row.sums.max) row.sums = kernels::rebased(row.sums, top);
  if (top > row.best || (top == row.best && place < row.best_id)) {
    row.best = top;
#pragma unroll
    for (int j = N - 1; j >= 0; --j)
      if (z[j] == top) row.best_id = place + j;
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const S shift = z[j] - row.sums.max, e = kernels::exp_of(shift);
    row.sums.exp += e;
    row.sums.shifted += e * larger(shift, kernels::lowest_of(S(0)));  // 0 · −∞ is 0
    row.sums.square += e * e;
    row.sums.total += z[j];
  }
}

template <class S>
__device__ __forceinline__ RowState<S> merged(const RowState<S>& a, const RowState<S>& b) {
  const bool first = a.best > b.best || (a.best == b.best && a.best_id < b.best_id);
  return {kernels::merged(a.sums, b.sums), first ? a.best : b.best, first ? a.best_id : b.best_id};
}

/// Of a warp, in its first lane.
template <class S>
__device__ __forceinline__ RowState<S> warp_merged(RowState<S> a) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const auto other = [&](S x) { return __shfl_down_sync(kAllLanes, x, offset); };
    const RowState<S> b{{other(a.sums.max), other(a.sums.exp), other(a.sums.shifted),
                         other(a.sums.square), other(a.sums.total)},
                        other(a.best),
                        __shfl_down_sync(kAllLanes, a.best_id, offset)};
    a = merged(a, b);
  }
  return a;
}

/// Of the block, in its first thread. `slots` is shared memory for 32 states.
template <class S>
__device__ __forceinline__ RowState<S> block_merged(RowState<S> a, RowState<S>* slots) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  a = warp_merged(a);
  if (lane == 0) slots[warp] = a;
  __syncthreads();
  if (warp > 0) return a;
  return warp_merged(lane < static_cast<int>(blockDim.x) / 32 ? slots[lane] : empty_row<S>());
}

/// RowStatistics for a kernel.
template <class S>
struct Statistics {
  S *log_prob, *lse, *entropy, *log_sum_p2, *greedy_match, *mean_logit;

  /// By one thread, for a row whose target (if any) has z = `target_z`.
  __device__ __forceinline__ void write(int64_t row, const RowState<S>& state, int size,
                                        int64_t target, S target_z) const {
    const kernels::RowSums<S>& s = state.sums;
    // Not target_z − lse, which loses digits where the logits are far from 0.
    if (log_prob != nullptr) log_prob[row] = (target_z - s.max) - kernels::log_of(s.exp);
    if (lse != nullptr) lse[row] = kernels::log_sum_exp(s);
    if (entropy != nullptr) entropy[row] = kernels::entropy(s);
    if (log_sum_p2 != nullptr) log_sum_p2[row] = kernels::log_sum_p2(s);
    if (greedy_match != nullptr) greedy_match[row] = state.best_id == target ? S(1) : S(0);
    if (mean_logit != nullptr) mean_logit[row] = s.total / static_cast<S>(size);
  }
};

template <class S>
Statistics<S> statistics_of(const RowStatistics& s) {
  return {static_cast<S*>(s.log_prob),     static_cast<S*>(s.lse),
          static_cast<S*>(s.entropy),      static_cast<S*>(s.log_sum_p2),
          static_cast<S*>(s.greedy_match), static_cast<S*>(s.mean_logit)};
}

/// RowGradients for a kernel.
template <class S>
struct Gradients {
  const S *log_prob, *entropy, *log_sum_p2, *mean_logit;

  static __device__ __forceinline__ S at(const S* values, int64_t row) {
    return values == nullptr ? S(0) : values[row];
  }
};

template <class S>
Gradients<S> gradients_of(const RowGradients& g) {
  return {static_cast<const S*>(g.log_prob), static_cast<const S*>(g.entropy),
          static_cast<const S*>(g.log_sum_p2), static_cast<const S*>(g.mean_logit)};
}

/// Calls fn(data, stride) with the place where gradients go, in its type.
template <class S, class Fn>
int for_output(const LogitRows& logits, const GradientRows& out, const Fn& fn) {
  if (out.data == nullptr) return fn(static_cast<S*>(logits.data), logits.stride);
  if (out.stride < logits.vocabulary) return cudaErrorInvalidValue;
  if (out.type == logits.type) return fn(static_cast<S*>(out.data), out.stride);
  if constexpr (std::is_same_v<S, float>)
    if (out.type == Type::bf16) return fn(static_cast<bf16*>(out.data), out.stride);
  return cudaErrorInvalidValue;
}

}  // namespace luce::cuda
