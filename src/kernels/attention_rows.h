// The arithmetic of attention between its products of tiles: online softmax and its gradient.
//
// A tile of scores is held as [keys, queries], kAttentionBlock floats from one key to the next: a
// query is a lane, and maxima and sums run over keys in ascending order without crossing lanes. A
// result does not depend on the queries beside it, nor on masked keys behind the last visible one.
// Queries, keys and widths d are multiples of 16, arrays 64-byte aligned.
#pragma once

#include <cstdint>

namespace luce::kernels {

/// Keys of a block, and the most queries of a tile.
inline constexpr int64_t kAttentionBlock = 64;

/// Which keys the queries of a tile see: query r those at positions [begin[r], end[r]).
struct VisibleKeys {
  const int32_t *begin, *end;
  int32_t first;  // position of the tile's first key
  bool all;       // every query sees every key: begin and end need not be looked at
};

struct AttentionRows {
  /// One block of keys of the online softmax (Milakov & Gimelshein, arXiv:1805.02867):
  ///   z = x, or cap tanh(x / cap) with a cap; −∞ where masked
  ///   m' = max(m, max_j z_j)    P_j = exp(z_j − m')    f = exp(m − m')    l' = f l + Σ_j P_j
  /// Turns scores [keys, queries] from x into P; max, sum [queries] and out [d, queries] are
  /// brought to m', l' and f · out. A query that sees none of the keys is left as it was.
  void (*softmax)(int64_t keys, int64_t queries, int64_t d, float* scores,
                  const VisibleKeys& visible, float cap, float* max, float* sum, float* out);

  /// out ← out / l and lse = m + log l.
  void (*finish)(int64_t queries, int64_t d, const float* max, const float* sum, float* out,
                 float* lse);

  /// The gradient of one tile (FlashAttention-2, arXiv:2307.08691, algorithm 2, lines 11 to 14):
  ///   P = exp(z − lse)    dS = scale · P ∘ (dP − D) ∘ (1 − (z/cap)²), the last factor with a cap
  /// Turns scores [keys, queries] from x into P and d_scores from dP into dS.
  void (*gradient)(int64_t keys, int64_t queries, float* scores, float* d_scores,
                   const VisibleKeys& visible, float scale, float cap, const float* lse,
                   const float* delta);

  /// out[r] = Σ_c a[c, r] b[c, r], for a and b [d, queries].
  void (*dot)(int64_t queries, int64_t d, const float* a, const float* b, float* out);

  /// to[j, i] = factor · from[i, j], for i below `rows` and j below `columns`.
  void (*transpose)(int64_t rows, int64_t columns, float factor, const float* from,
                    int64_t from_stride, float* to, int64_t to_stride);

  /// y ← y + x, any n.
  void (*add)(int64_t n, const float* x, float* y);
};

}  // namespace luce::kernels
