// One side of a head on the CPU: hidden states of a chunk against tiles of the vocabulary.
//
// A tile is kTile entries of the vocabulary; a panel is kernels::kPanel targets. Tile products give
// logits as [entries, targets], so that a target is a lane of every later pass. The weight is read
// as it lies; the hidden states are packed once a chunk. Products whose left side is the weight's
// transpose take a transposed copy of the tile, made in the thread's scratch while it is in cache.
#pragma once

#include <functional>
#include <vector>

#include "kernels/kernels.h"
#include "luce/ops/head.h"

namespace luce {

class TileHead {
 public:
  static constexpr int64_t kTile = 256;

  /// hidden [M, D] and weight [V, D], contiguous, both f32 or both bf16.
  TileHead(const Tensor& hidden, const Tensor& weight, const LogitOptions& logits);

  int64_t tiles() const { return (vocabulary_ + kTile - 1) / kTile; }
  int64_t panels() const { return (rows_ + kernels::kPanel - 1) / kernels::kPanel; }
  int64_t width() const { return width_; }
  const kernels::LogitMap<float>& map() const { return map_; }
  int64_t first(int64_t tile) const { return tile * kTile; }
  int64_t entries(int64_t tile) const { return std::min(kTile, vocabulary_ - tile * kTile); }
  /// Targets of a panel, rounded up to 16: the rest are zeros.
  int64_t panel_width(int64_t panel) const;
  /// Floats of a chunk's logits.
  int64_t logits_size(int64_t rows) const;
  /// Where a tile and a panel of them begin: [entries, panel_width(panel)].
  float* logits_at(float* chunk, int64_t tile, int64_t panel) const {
    return chunk +
           kTile * (tile * logits_size(rows_) / (tiles() * kTile) + panel * kernels::kPanel);
  }

  /// Packs the hidden states of rows [begin, begin + n).
  void pack(int64_t begin, int64_t n);

  /// What one thread needs beyond the inputs.
  struct Scratch {
    const float* weight = nullptr;                   // the tile in f32: the weight's or `tile`
    std::vector<float> tile, transposed;             // [kTile, D] · [D, kTile]
    std::vector<c10::BFloat16> transposed_bf16, dz;  // [D, kTile] · dz twice, see add_gradients
  };

  /// To be called before the products of a tile's panels, or before their gradients.
  void begin_products(int64_t tile, Scratch& scratch) const;
  void begin_gradients(int64_t tile, Scratch& scratch) const;
  /// x = hidden @ weightᵀ of a tile and a panel, [entries, panel_width]: not yet mapped to z.
  void product(int64_t tile, int64_t panel, const Scratch& scratch, float* x) const;
  /// Zeros the columns of dx beyond the chunk's rows: there 0 · ∞ may have made NaN of logits.
  void clear_padding(int64_t tile, int64_t panel, float* dx) const;
  /// d_weight[tile] += dx · hidden, where d_weight is not null, and d_hidden[panel] += weightᵀ ·
  /// dx; d_hidden is transposed and by panels: [panels, D, kPanel].
  void add_gradients(int64_t tile, int64_t panel, const float* dx, Scratch& scratch,
                     float* d_weight, float* d_hidden) const;
  /// Adds the transposed parts, [parts, panels, D, kPanel] in order, to d_hidden [n, D].
  void finish_hidden(const std::vector<float>& parts, int64_t count, Tensor& d_hidden) const;

 private:
  template <class T>
  const T* weight_at(int64_t tile) const {
    return weight_.const_data_ptr<T>() + tile * kTile * width_;
  }

  Tensor hidden_, weight_;
  kernels::LogitMap<float> map_;
  int64_t vocabulary_, width_, rows_ = 0;
  bool bf16_;                                          // products of bf16; else of f32
  std::vector<float> packed_, transposed_;             // hidden [rows, D] · by panels [D, kPanel]
  std::vector<c10::BFloat16> pairs_, paired_columns_;  // the same, see tile_gemm
};

/// The gradients of one chunk, tile by tile on all threads, whose bits do not depend on their
/// number. `dx(tile, panel)` turns logits into gradients in place and returns where they are.
void add_tile_gradients(const TileHead& side, int64_t chunk_bytes,
                        const std::function<float*(int64_t tile, int64_t panel)>& dx,
                        Tensor& d_hidden, Tensor& d_weight);

}  // namespace luce
