#include "ops/tile_head.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "ops/tile_gemm.h"

namespace luce {
namespace {

using kernels::kPanel;

int64_t up_to_16(int64_t n) { return (n + 15) / 16 * 16; }

/// out[j, i] = in[i, j], in blocks that stay in cache.
template <class T>
void transpose(int64_t rows, int64_t columns, const T* in, int64_t ld_in, T* out, int64_t ld_out) {
  constexpr int64_t kBlock = 16;
  for (int64_t i0 = 0; i0 < rows; i0 += kBlock)
    for (int64_t j0 = 0; j0 < columns; j0 += kBlock) {
      const int64_t i1 = std::min(rows, i0 + kBlock), j1 = std::min(columns, j0 + kBlock);
      for (int64_t j = j0; j < j1; ++j)
        for (int64_t i = i0; i < i1; ++i) out[j * ld_out + i] = in[i * ld_in + j];
    }
}

template <class T>
T* sized(std::vector<T>& buffer, int64_t count) {
  if (static_cast<int64_t>(buffer.size()) < count) buffer.resize(static_cast<size_t>(count));
  return buffer.data();
}

const uint16_t* bits(const c10::BFloat16* p) { return reinterpret_cast<const uint16_t*>(p); }
uint16_t* bits(c10::BFloat16* p) { return reinterpret_cast<uint16_t*>(p); }

}  // namespace

TileHead::TileHead(const Tensor& hidden, const Tensor& weight, const LogitOptions& o)
    : hidden_(hidden),
      weight_(weight),
      vocabulary_(weight.size(0)),
      width_(weight.size(1)),
      bf16_(weight.scalar_type() == at::kBFloat16 && tile_gemm_has_bf16() && width_ % 2 == 0) {
  const double scale = o.logit_scale, temperature = o.temperature;
  map_.scale = static_cast<float>(o.softcap > 0 ? scale : scale / temperature);
  map_.cap = static_cast<float>(o.softcap);
  map_.after = static_cast<float>(o.softcap > 0 ? o.softcap / temperature : 1);
}

int64_t TileHead::panel_width(int64_t panel) const {
  return up_to_16(std::min(kPanel, rows_ - panel * kPanel));
}

int64_t TileHead::logits_size(int64_t rows) const { return tiles() * kTile * up_to_16(rows); }

void TileHead::pack(int64_t begin, int64_t n) {
  rows_ = n;
  const int64_t d = width_, count = panels() * kPanel * d;
  const auto clear = [&](auto& buffer) {
    buffer.assign(static_cast<size_t>(count),
                  typename std::decay_t<decltype(buffer)>::value_type(0));
    return buffer.data();
  };
  if (bf16_) {
    const auto* h = hidden_.const_data_ptr<c10::BFloat16>() + begin * d;
    c10::BFloat16* pairs = clear(pairs_);             // [rows/2, D, 2]: rows in pairs
    c10::BFloat16* columns = clear(paired_columns_);  // by panels [D/2, kPanel, 2]
    for (int64_t m = 0; m < n; ++m)
      for (int64_t i = 0; i < d; ++i) {
        pairs[(m / 2 * d + i) * 2 + m % 2] = h[m * d + i];
        columns[m / kPanel * kPanel * d + (i / 2 * kPanel + m % kPanel) * 2 + i % 2] = h[m * d + i];
      }
    return;
  }
  float* rows = clear(packed_);
  if (hidden_.scalar_type() == at::kBFloat16)
    kernels::table().widen(n * d, bits(hidden_.const_data_ptr<c10::BFloat16>() + begin * d), rows);
  else
    std::copy_n(hidden_.const_data_ptr<float>() + begin * d, n * d, rows);
  sized(transposed_, count);
  at::parallel_for(0, panels(), 1, [&](int64_t first, int64_t last) {
    for (int64_t p = first; p < last; ++p)
      transpose(kPanel, d, rows + p * kPanel * d, d, transposed_.data() + p * kPanel * d, kPanel);
  });
}

void TileHead::begin_products(int64_t tile, Scratch& scratch) const {
  if (bf16_) return;
  if (weight_.scalar_type() == at::kFloat) {
    scratch.weight = weight_at<float>(tile);
    return;
  }
  float* wide = sized(scratch.tile, kTile * width_);
  kernels::table().widen(entries(tile) * width_, bits(weight_at<c10::BFloat16>(tile)), wide);
  scratch.weight = wide;
}

void TileHead::product(int64_t tile, int64_t panel, const Scratch& scratch, float* x) const {
  const int64_t n = entries(tile), d = width_, at = panel * kPanel * d, wide = panel_width(panel);
  // `there`: rows from this tile on that lie behind one another.
  const auto multiply = [&](const auto* weight, int64_t there, const auto* columns) {
    constexpr int64_t kRows = 64;
    for (int64_t row = 0; row < n; row += kRows) {
      const int64_t left = there - row - kRows;
      if (panel == 0 && left > 0) prefetch(weight + (row + kRows) * d, std::min(kRows, left) * d);
      tile_gemm(std::min(kRows, n - row), wide, d, weight + row * d, d, columns + at, kPanel,
                x + row * wide, wide, false);
    }
  };
  if (bf16_)
    multiply(weight_at<c10::BFloat16>(tile), vocabulary_ - first(tile), paired_columns_.data());
  else
    multiply(scratch.weight, scratch.tile.empty() ? vocabulary_ - first(tile) : n,
             transposed_.data());
}

void TileHead::begin_gradients(int64_t tile, Scratch& scratch) const {
  begin_products(tile, scratch);
  const int64_t n = entries(tile), d = width_;
  if (bf16_) {
    if (n % 2 == 1) scratch.transposed_bf16.assign(static_cast<size_t>(kTile * d), 0);
    transpose(n, d, weight_at<c10::BFloat16>(tile), d, sized(scratch.transposed_bf16, kTile * d),
              kTile);
  } else {
    transpose(n, d, scratch.weight, d, sized(scratch.transposed, kTile * d), kTile);
  }
}

void TileHead::clear_padding(int64_t tile, int64_t panel, float* dx) const {
  const int64_t used = std::min(kPanel, rows_ - panel * kPanel), wide = panel_width(panel);
  if (used == wide) return;
  for (int64_t v = 0; v < entries(tile); ++v)
    std::fill(dx + v * wide + used, dx + (v + 1) * wide, 0.0F);
}

void TileHead::add_gradients(int64_t tile, int64_t panel, const float* dx, Scratch& scratch,
                             float* d_weight, float* d_hidden) const {
  const int64_t n = entries(tile), d = width_, wide = panel_width(panel);
  float* dw = d_weight == nullptr ? nullptr : d_weight + tile * kTile * d;
  float* dh = d_hidden + panel * d * kPanel;
  if (!bf16_) {
    if (dw != nullptr)
      tile_gemm(n, d, wide, dx, wide, packed_.data() + panel * kPanel * d, d, dw, d, true);
    tile_gemm(d, wide, n, scratch.transposed.data(), kTile, dx, wide, dh, kPanel, true);
    return;
  }
  // dx rounded to bf16, once by rows and once with pairs of rows interleaved.
  c10::BFloat16* by_row = sized(scratch.dz, 2 * (kTile + 1) * kPanel);
  c10::BFloat16* by_pair = by_row + (kTile + 1) * kPanel;
  kernels::table().narrow(n * wide, dx, bits(by_row));
  const int64_t even = (n + 1) / 2 * 2;
  static const std::vector<float> zeros(kPanel);
  for (int64_t v = 0; v < even; v += 2)
    kernels::table().narrow_pair(wide, dx + v * wide,
                                 v + 1 < n ? dx + (v + 1) * wide : zeros.data(),
                                 bits(by_pair + v * wide));
  if (dw != nullptr)
    tile_gemm(n, d, wide, by_row, wide, pairs_.data() + panel * kPanel * d, d, dw, d, true);
  tile_gemm(d, wide, even, scratch.transposed_bf16.data(), kTile, by_pair, wide, dh, kPanel, true);
}

void TileHead::finish_hidden(const std::vector<float>& parts, int64_t count,
                             Tensor& d_hidden) const {
  const int64_t d = width_, part = panels() * d * kPanel;
  Tensor sum = at::empty({rows_, d}, d_hidden.options().dtype(at::kFloat));
  float* out = sum.data_ptr<float>();
  at::parallel_for(0, panels(), 1, [&](int64_t first, int64_t last) {
    std::vector<float> total(static_cast<size_t>(d * kPanel));
    for (int64_t p = first; p < last; ++p) {
      std::copy_n(parts.data() + p * d * kPanel, d * kPanel, total.data());
      for (int64_t i = 1; i < count; ++i)
        for (int64_t j = 0; j < d * kPanel; ++j)
          total[static_cast<size_t>(j)] +=
              parts[static_cast<size_t>(i * part + p * d * kPanel + j)];
      transpose(d, std::min(kPanel, rows_ - p * kPanel), total.data(), kPanel, out + p * kPanel * d,
                d);
    }
  });
  d_hidden.add_(sum);
}

void add_tile_gradients(const TileHead& side, int64_t chunk_bytes,
                        const std::function<float*(int64_t tile, int64_t panel)>& dx,
                        Tensor& d_hidden, Tensor& d_weight) {
  const int64_t part = side.panels() * side.width() * kPanel;
  if (part == 0) return;
  // Sums over the vocabulary run in as many parts as may run at once; they must not take much
  // memory beside the logits.
  const int64_t fits = chunk_bytes / 4 / (part * static_cast<int64_t>(sizeof(float)));
  const int64_t count = std::clamp<int64_t>(std::min(fits, side.tiles()), 1, 16);
  std::vector<float> parts(static_cast<size_t>(count * part));
  float* dw = d_weight.defined() ? d_weight.data_ptr<float>() : nullptr;
  at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    TileHead::Scratch scratch;
    for (int64_t i = first; i < last; ++i)
      for (int64_t tile = side.tiles() * i / count; tile < side.tiles() * (i + 1) / count; ++tile) {
        side.begin_gradients(tile, scratch);
        for (int64_t panel = 0; panel < side.panels(); ++panel) {
          float* slopes = dx(tile, panel);
          side.clear_padding(tile, panel, slopes);
          side.add_gradients(tile, panel, slopes, scratch, dw, parts.data() + i * part);
        }
      }
    tile_gemm_release();
  });
  side.finish_hidden(parts, count, d_hidden);
}

}  // namespace luce
