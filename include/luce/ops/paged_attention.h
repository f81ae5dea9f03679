// Attention of new tokens to keys and values that lie in pages, which sequences may share.
#pragma once

#include "luce/ops/attention.h"

namespace luce {

/// Positions of a page: the block of keys of tree_attention.
inline constexpr int64_t kPagePositions = 64;

/// Keys and values of one block of a model, P pages of K heads of width d. What no position was
/// written to must be finite.
struct Pages {
  Tensor keys;    // [P, K, d, kPagePositions]: a position is a column, as the products read it
  Tensor values;  // [P, K, kPagePositions, d]
};

/// Where sequences lie: positions [kPagePositions · t, …) of sequence b in page pages[b, t].
struct PageTable {
  Tensor pages;    // [B, T] i64; what lies behind a sequence's last position names any page
  Tensor lengths;  // [B] i64 positions of each, at least 1
};

/// Writes row n of k and v [N, K, d] to place offset[n] of page page[n] ([N] i64 both). Throws
/// ArgumentError on shapes, dtypes or places that do not fit.
void write_pages(const Pages& pages, const Tensor& page, const Tensor& offset, const Tensor& k,
                 const Tensor& v);

/// Attention of one new token per sequence to all positions of its pages, of which it is the last.
/// q [B, H, d]. Returns [B, H, d], without a gradient. A page that neighbouring sequences share is
/// read once for them. On a CPU in f32 and bf16 a row has the bits of tree_attention's. Throws
/// ArgumentError on shapes, dtypes, options or lengths that do not fit.
Tensor paged_attention(const Tensor& q, const Pages& pages, const PageTable& table,
                       const AttentionOptions& options);

namespace composed {
/// The definition in tensor operations, on a copy of the pages side by side: what runs for other
/// dtypes and devices.
Tensor paged_attention(const Tensor& q, const Pages& pages, const PageTable& table,
                       const AttentionOptions& options);
}  // namespace composed

}  // namespace luce
