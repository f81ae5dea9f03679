// Tiles of attention: B query or key rows of up to D columns in shared memory, and the two products
// that all passes are made of.
//
// 256 threads stand as 16 × 16. Thread (y, x) has the rows y + 16 i of a product, and the columns
// x + 16 j of a [B, B] one, or kVec columns at (x + 16 j) kVec of a [B, D] one. The 16 threads of a
// row are half a warp, so that a row's sums are shuffles, and a [B, B] tile that goes through
// shared memory from one product to the next needs no more than a warp's barrier.
#pragma once

#include <climits>

#include "common.cuh"

namespace luce::cuda {

inline constexpr int kAttentionThreads = 256;

/// A row of AttentionSegments::table. Its places are counted in int.
struct Segment {
  int64_t begin, length, prefix_begin, prefix_length;

  __device__ __forceinline__ int prefix() const { return static_cast<int>(prefix_length); }
  __device__ __forceinline__ int places() const { return static_cast<int>(prefix_length + length); }
  /// The row at a place, and its opposite: −1 for a row that is not the segment's.
  __device__ __forceinline__ int64_t row(int place) const {
    return place < prefix_length ? prefix_begin + place : begin + place - prefix_length;
  }
  __device__ __forceinline__ int place(int64_t row) const {
    if (row >= begin && row < begin + length) return static_cast<int>(row - begin) + prefix();
    if (row >= prefix_begin && row < prefix_begin + prefix_length)
      return static_cast<int>(row - prefix_begin);
    return -1;
  }
};
static_assert(sizeof(Segment) == 4 * sizeof(int64_t));

/// What a kernel knows of the shape.
template <class T>
struct Attention {
  const Segment* segments;
  const T *q, *k, *v;
  int64_t q_stride, k_stride, v_stride;
  int heads, group, width;  // group: heads per key-value head
  int window;               // INT_MAX: none
  kernels::LogitMap<Wide<T>> map;

  /// Whether the query at one place of a segment sees the key at another.
  __device__ __forceinline__ bool sees(int query, int key) const {
    return key <= query && query - key < window;
  }
};

template <class W, int D, int B>
struct Tiles {
  static_assert(D % 64 == 0 && B % 16 == 0);
  static constexpr int kVec = kPack<W>;
  static constexpr int kEach = B / 16;           // rows of a thread
  static constexpr int kBlocks = D / 16 / kVec;  // times kVec columns of a thread
  static constexpr int kStride = D + kVec;       // so that equal columns lie in different banks
  static constexpr int kPairStride = B + kVec;
  static constexpr int kSize = B * kStride;  // numbers of a [B, D] tile
  static constexpr int kPairSize = B * kPairStride;

  using Pairs = W[kEach][kEach];          // a thread's part of a [B, B] product
  using Sums = W[kEach][kBlocks * kVec];  // and of a [B, D] one

  static __device__ __forceinline__ int y() { return static_cast<int>(threadIdx.x) / 16; }
  static __device__ __forceinline__ int x() { return static_cast<int>(threadIdx.x) % 16; }
  static __device__ __forceinline__ int row(int i) { return y() + 16 * i; }
  static __device__ __forceinline__ int pair_column(int j) { return x() + 16 * j; }
  static __device__ __forceinline__ int column(int block) { return (x() + 16 * block) * kVec; }

  /// Fills a tile: row r from `base` + row_of(r) · stride, zeros where row_of(r) < 0 or past
  /// `width`.
  template <class T, class RowOf>
  static __device__ __forceinline__ void fill(W* tile, const T* base, int64_t stride, int width,
                                              const RowOf& row_of) {
    constexpr int kChunk = 4, kChunks = D / kChunk;
    for (int i = static_cast<int>(threadIdx.x); i < B * kChunks; i += kAttentionThreads) {
      const int r = i / kChunks, c = i % kChunks * kChunk;
      const int64_t from = row_of(r);
      W values[kChunk];
      load<kChunk>(base + (from < 0 ? 0 : from * stride + c), from < 0 ? 0 : width - c, values);
      store_aligned<kChunk>(tile + r * kStride + c, values);
    }
  }

  /// out = a · bᵀ over the first `width` columns.
  static __device__ __forceinline__ void product(const W* a, const W* b, int width, Pairs& out) {
#pragma unroll
    for (int i = 0; i < kEach; ++i)
#pragma unroll
      for (int j = 0; j < kEach; ++j) out[i][j] = W(0);
#pragma unroll 4
    for (int c = 0; c < width; c += kVec) {
      W from_a[kEach][kVec], from_b[kEach][kVec];
#pragma unroll
      for (int i = 0; i < kEach; ++i) load_aligned<kVec>(a + row(i) * kStride + c, from_a[i]);
#pragma unroll
      for (int j = 0; j < kEach; ++j)
        load_aligned<kVec>(b + pair_column(j) * kStride + c, from_b[j]);
#pragma unroll
      for (int i = 0; i < kEach; ++i)
#pragma unroll
        for (int j = 0; j < kEach; ++j)
#pragma unroll
          for (int e = 0; e < kVec; ++e) out[i][j] += from_a[i][e] * from_b[j][e];
    }
  }

  /// sums += p · b, for p [B, B] given by its parts. `pairs` is room for it in shared memory, which
  /// only the threads of the same rows touch.
  static __device__ __forceinline__ void add_product(const Pairs& p, W* pairs, const W* b,
                                                     Sums& sums) {
    __syncwarp();  // of an earlier product
#pragma unroll
    for (int i = 0; i < kEach; ++i)
#pragma unroll
      for (int j = 0; j < kEach; ++j) pairs[row(i) * kPairStride + pair_column(j)] = p[i][j];
    __syncwarp();
#pragma unroll 2
    for (int c = 0; c < B; c += kVec) {
      W from_p[kEach][kVec];
#pragma unroll
      for (int i = 0; i < kEach; ++i)
        load_aligned<kVec>(pairs + row(i) * kPairStride + c, from_p[i]);
#pragma unroll
      for (int r = 0; r < kVec; ++r)
#pragma unroll
        for (int block = 0; block < kBlocks; ++block) {
          W from_b[kVec];
          load_aligned<kVec>(b + (c + r) * kStride + column(block), from_b);
#pragma unroll
          for (int i = 0; i < kEach; ++i)
#pragma unroll
            for (int e = 0; e < kVec; ++e) sums[i][block * kVec + e] += from_p[i][r] * from_b[e];
        }
    }
  }

  /// A thread's part of a row to memory, `width` columns of it in use.
  template <class T>
  static __device__ __forceinline__ void write(T* to, int width, const W (&row)[kBlocks * kVec]) {
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      W part[kVec];
#pragma unroll
      for (int e = 0; e < kVec; ++e) part[e] = row[block * kVec + e];
      store<kVec>(to + column(block), width - column(block), part);
    }
  }
};

/// Calls fn with the columns of a tile for heads of a width, as a constant.
template <class Fn>
int for_width(int64_t width, const Fn& fn) {
  if (width <= 64) return fn(std::integral_constant<int, 64>());
  if (width <= 128) return fn(std::integral_constant<int, 128>());
  return fn(std::integral_constant<int, 256>());
}

template <class T>
Attention<T> attention_of(const AttentionShape& shape, const AttentionSegments& segments,
                          const void* q, const void* k, const void* v) {
  using W = Wide<T>;
  const W cap = static_cast<W>(shape.softcap);
  return {reinterpret_cast<const Segment*>(segments.table),
          static_cast<const T*>(q),
          static_cast<const T*>(k),
          static_cast<const T*>(v),
          shape.q_stride,
          shape.k_stride,
          shape.v_stride,
          static_cast<int>(shape.heads),
          static_cast<int>(shape.heads / shape.kv_heads),
          static_cast<int>(shape.width),
          shape.window > 0 && shape.window < INT_MAX ? static_cast<int>(shape.window) : INT_MAX,
          {static_cast<W>(shape.scale), cap, cap == W(0) ? W(1) : cap}};
}

inline bool valid(const AttentionShape& shape) {
  return shape.heads > 0 && shape.heads < 65536 && shape.kv_heads > 0 &&
         shape.heads % shape.kv_heads == 0 && shape.width >= 1 && shape.width <= 256 &&
         shape.q_stride >= shape.heads * shape.width &&
         shape.k_stride >= shape.kv_heads * shape.width &&
         shape.v_stride >= shape.kv_heads * shape.width && shape.window >= 0;
}

}  // namespace luce::cuda
