// How a block attends to pages: scores, softmax and values of one page after the other.
#pragma once

#include "attention.cuh"

namespace luce::cuda {

inline constexpr int kPage = static_cast<int>(kPagePositions);
inline constexpr int kPagedThreads = 256, kPagedWarps = kPagedThreads / 32;
/// A block takes at least kLeastPages pages, and a row at most kMostBlocks blocks.
inline constexpr int kLeastPages = 4, kMostBlocks = 32;

inline int blocks_of_row(int64_t columns) {
  const int64_t blocks = (columns + kLeastPages - 1) / kLeastPages;
  return static_cast<int>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

/// What kernels know of the arguments.
template <class T>
struct Paged {
  const T *q, *keys, *values;
  int64_t keys_page, keys_head, values_page, values_head;  // strides
  const int64_t *table, *lengths;
  int64_t rows, columns;
  int heads, kv_heads, width, window;
  int most;  // blocks of a row
  kernels::LogitMap<Wide<T>> map;
};

/// The positions [begin, end) that a row sees, cut into parts of whole pages: by the row alone, so
/// that its bits do not depend on others.
struct PageCut {
  int begin, end, first_page;
  int pages, parts;  // pages of a part, and how many parts

  __device__ __forceinline__ PageCut(int64_t length, int window) {
    end = static_cast<int>(length);
    begin = end > window ? end - window : 0;
    first_page = begin / kPage;
    const int all = (end + kPage - 1) / kPage - first_page;
    pages = max(kLeastPages, (all + kMostBlocks - 1) / kMostBlocks);
    parts = (all + pages - 1) / pages;
  }
};

/// Shared memory of a block: G query heads of one key-value head.
template <class W, int D, int G>
struct alignas(16) PagedShared {
  W q[D][G];                        // read by all lanes at once, heads side by side
  W scores[kPagedWarps][G][kPage];  // parts of sums over the width; in the end the sums over values
  W p[kPage][G];
  W factor[G], max[G], sum[G];
};

/// scores += q · a warp's rows of a page of keys; a lane has two positions.
template <class T, int D, int G>
__device__ __forceinline__ void score(const T* keys, int width, PagedShared<Wide<T>, D, G>& s) {
  const int warp = static_cast<int>(threadIdx.x) / 32, at = static_cast<int>(threadIdx.x) % 32 * 2;
  Wide<T> z[G][2] = {};
#pragma unroll 8
  for (int c = warp; c < width; c += kPagedWarps) {
    Wide<T> key[2], q[G];
    load_aligned<G>(s.q[c], q);
    load_aligned<2>(keys + c * kPage + at, key);
#pragma unroll
    for (int g = 0; g < G; ++g) {
      z[g][0] += q[g] * key[0];
      z[g][1] += q[g] * key[1];
    }
  }
#pragma unroll
  for (int g = 0; g < G; ++g) store_aligned<2>(&s.scores[warp][g][at], z[g]);
}

/// Scores of a page → p, by one warp for each head. `first` is the page's first position.
template <class T, int D, int G>
__device__ __forceinline__ void soften(const kernels::LogitMap<Wide<T>>& map, const PageCut& cut,
                                       int first, PagedShared<Wide<T>, D, G>& s) {
  using W = Wide<T>;
  const int g = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (g >= G) return;
  W z[2];
  W top = s.max[g];
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int at = lane * 2 + j;
    z[j] = s.scores[0][g][at];
#pragma unroll
    for (int w = 1; w < kPagedWarps; ++w) z[j] += s.scores[w][g][at];
    // What no position was written to may be a NaN.
    const bool seen = first + at >= cut.begin && first + at < cut.end;
    z[j] = seen ? map.value(z[j]) : -W(HUGE_VAL);
    top = larger(top, z[j]);
  }
  top = warp_max(top);
  W sum = W(0);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const W p = kernels::exp_of(z[j] - top);
    s.p[lane * 2 + j][g] = p;
    sum += p;
  }
  sum = warp_sum(sum);
  if (lane > 0) return;
  s.factor[g] = kernels::exp_of(s.max[g] - top);
  s.sum[g] = s.sum[g] * s.factor[g] + sum;
  s.max[g] = top;
}

/// sums ← factor · sums + p · values of a warp's positions; a lane has N columns.
template <bool kWhole, class T, int D, int G, int N>
__device__ __forceinline__ void add_values(const T* values, int first, int last, int width,
                                           const PagedShared<Wide<T>, D, G>& s,
                                           Wide<T> (&sums)[G][N]) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int column = static_cast<int>(threadIdx.x) % 32 * N;
#pragma unroll
  for (int g = 0; g < G; ++g)
#pragma unroll
    for (int n = 0; n < N; ++n) sums[g][n] *= s.factor[g];
  if (column >= width) return;
#pragma unroll 4
  for (int at = first + warp; at < last; at += kPagedWarps) {
    Wide<T> value[N], p[G];
    load_aligned<G>(s.p[at], p);
    if constexpr (kWhole)
      load_aligned<N>(values + at * width + column, value);
    else
      load<N>(values + at * width + column, width - column, value);
#pragma unroll
    for (int g = 0; g < G; ++g)
#pragma unroll
      for (int n = 0; n < N; ++n) sums[g][n] += p[g] * value[n];
  }
}

}  // namespace luce::cuda
