// Products for rows without a graph. The weight is the left factor and read as it lies; the rows
// are packed once a panel by every thread, which costs less than waiting for one another.
#include "luce/ops/thin_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "kernels/kernels.h"
#include "luce/base/error.h"
#include "luce/ops/linear.h"
#include "ops/tile_gemm.h"

namespace luce {
namespace {

using kernels::kPanel;

constexpr int64_t kOutputs = 48;  // of a tile

int64_t up_to(int64_t unit, int64_t n) { return (n + unit - 1) / unit * unit; }

const uint16_t* bits(const at::BFloat16* p) { return reinterpret_cast<const uint16_t*>(p); }
uint16_t* bits(at::BFloat16* p) { return reinterpret_cast<uint16_t*>(p); }

/// to[j, i] = from[i, j] of any number of rows and columns.
template <class Word>
void transpose(int64_t rows, int64_t columns, const Word* from, int64_t from_stride, Word* to,
               int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  kernels::table().transpose_words(whole_rows, whole_columns, from, from_stride, to, to_stride);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
      to[j * to_stride + i] = from[i * from_stride + j];
}

template <class T>
class ThinLinear {
 public:
  ThinLinear(const Tensor& x, const std::vector<LinearWeights>& layers)
      : x_(x.const_data_ptr<T>()), rows_(x.size(0)), in_(x.size(1)) {
    for (const auto& layer : layers) {
      const int64_t out = layer.w.size(0);
      results_.push_back(at::empty({rows_, out}, x.options()));
      for (int64_t first = 0; first < out; first += kOutputs)
        tiles_.push_back({layer.w.const_data_ptr<T>() + first * in_,
                          std::min(kOutputs, out - first),
                          results_.back().template data_ptr<T>() + first, out});
    }
  }

  std::vector<Tensor> operator()() {
    const auto tiles = static_cast<int64_t>(tiles_.size());
    const int64_t panels = (rows_ + kPanel - 1) / kPanel;
    at::parallel_for(0, panels * tiles, 1, [&](int64_t first, int64_t last) {
      Scratch scratch;
      int64_t panel = -1;
      for (int64_t task = first; task < last; ++task) {
        if (task / tiles != panel) pack(panel = task / tiles, scratch);
        if (task + 1 < last) {
          const Tile& next = tiles_[static_cast<size_t>((task + 1) % tiles)];
          prefetch(next.weight, next.count * in_);
        }
        product(tiles_[static_cast<size_t>(task % tiles)], panel, scratch);
      }
      tile_gemm_release();
    });
    return results_;
  }

 private:
  /// Up to kOutputs rows of a weight, and the first of the columns that they give.
  struct Tile {
    const T* weight;
    int64_t count;
    T* result;
    int64_t stride;
  };
  struct Scratch {
    std::vector<float> packed, wide, weight;  // xᵀ [in, kPanel] · x or y [.., in] · the tile in f32
    std::vector<float> product = std::vector<float>(kOutputs * kPanel);
    std::vector<float> by_row = std::vector<float>(kOutputs * kPanel);
  };

  static constexpr bool kHalf = std::is_same_v<T, at::BFloat16>;
  bool pairs() const { return kHalf && in_ % 2 == 0 && tile_gemm_has_bf16(); }
  int64_t rows_of(int64_t panel) const { return std::min(kPanel, rows_ - panel * kPanel); }

  void pack(int64_t panel, Scratch& s) const {
    const int64_t n = rows_of(panel);
    const T* x = x_ + panel * kPanel * in_;
    s.packed.assign(static_cast<size_t>(in_ * kPanel), 0);
    if constexpr (kHalf) {
      if (pairs())  // two neighbours are one word
        return transpose(n, in_ / 2, reinterpret_cast<const float*>(x), in_ / 2, s.packed.data(),
                         kPanel);
      s.wide.resize(static_cast<size_t>(n * in_));
      kernels::table().widen(n * in_, bits(x), s.wide.data());
      transpose(n, in_, s.wide.data(), in_, s.packed.data(), kPanel);
    } else {
      transpose(n, in_, x, in_, s.packed.data(), kPanel);
    }
  }

  void product(const Tile& tile, int64_t panel, Scratch& s) const {
    const int64_t n = rows_of(panel), wide = up_to(16, n);
    float* y = s.product.data();  // [outputs, wide]
    if constexpr (kHalf) {
      if (pairs()) {
        tile_gemm(tile.count, wide, in_, tile.weight, in_,
                  reinterpret_cast<const at::BFloat16*>(s.packed.data()), kPanel, y, wide, false);
      } else {
        s.weight.resize(static_cast<size_t>(kOutputs * in_));
        kernels::table().widen(tile.count * in_, bits(tile.weight), s.weight.data());
        tile_gemm(tile.count, wide, in_, s.weight.data(), in_, s.packed.data(), kPanel, y, wide,
                  false);
      }
      transpose(tile.count, n, y, wide, s.by_row.data(), kOutputs);
      for (int64_t r = 0; r < n; ++r)
        kernels::table().narrow(tile.count, s.by_row.data() + r * kOutputs,
                                bits(tile.result + (panel * kPanel + r) * tile.stride));
    } else {
      tile_gemm(tile.count, wide, in_, tile.weight, in_, s.packed.data(), kPanel, y, wide, false);
      transpose(tile.count, n, y, wide, tile.result + panel * kPanel * tile.stride, tile.stride);
    }
  }

  const T* x_;
  int64_t rows_, in_;
  std::vector<Tensor> results_;
  std::vector<Tile> tiles_;
};

}  // namespace

std::vector<Tensor> thin_linear(const Tensor& x_in, const std::vector<LinearWeights>& layers) {
  expect_dim(x_in, 2, "thin_linear", "x");
  for (const auto& layer : layers) {
    expect_dim(layer.w, 2, "thin_linear", "w");
    if (layer.w.size(1) != x_in.size(1) || layer.w.scalar_type() != x_in.scalar_type())
      throw ArgumentError(cat("[thin_linear] expected x [N, in] and w [out, in] of one dtype; got ",
                              shown(x_in), ", ", shown(layer.w)));
  }
  const Tensor x = x_in.detach().contiguous();
  const auto type = x.scalar_type();
  const bool kernel = x.is_cpu() && (type == at::kFloat || type == at::kBFloat16);
  std::vector<LinearWeights> plain;
  for (const auto& layer : layers)
    plain.push_back(
        {layer.w.detach().contiguous(), layer.b.defined() ? layer.b.detach() : layer.b});
  std::vector<Tensor> out;
  if (!kernel) {
    for (const auto& layer : plain) out.push_back(linear(x, layer.w, layer.b));
    return out;
  }
  out = type == at::kFloat ? ThinLinear<float>(x, plain)() : ThinLinear<at::BFloat16>(x, plain)();
  for (size_t i = 0; i < out.size(); ++i)
    if (plain[i].b.defined()) out[i] = out[i] + plain[i].b;
  return out;
}

}  // namespace luce
