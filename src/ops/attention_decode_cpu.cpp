// Attention of one new token per sequence to a cache, on a CPU.
//
// The arithmetic and its bits are those of attention_cpu.cpp. There the queries of a tile share
// their keys; here few do, so that products are done for each key-value head of each sequence by
// itself, and only the softmax takes several of them together, as lanes.
#include <ATen/ATen.h>

#include <limits>

#include "ops/attention_backend.h"
#include "ops/attention_blocks.h"
#include "ops/tile_gemm.h"

namespace luce::cpu {
namespace {

constexpr int64_t kLanes = 16;

/// Up to kLanes query heads of one key-value head of a sequence, which see its keys [begin, end).
struct Unit {
  int64_t sequence, kv_head, head, heads, begin, end;

  bool sees(int64_t block) const { return begin < (block + 1) * kBlock && block * kBlock < end; }
};

template <class T>
struct Cache {
  Rows<const T> q, k, v;       // k and v of the first sequence
  int64_t k_stride, v_stride;  // from one sequence to the next
  Rows<T> out;
};

template <class T>
class Decode {
 public:
  Decode(const Cache<T>& cache, const Shape& shape, const AttentionOptions& options)
      : cache_(cache),
        shape_(shape),
        options_(options),
        scratch_(2 * shape.tile() + 2 * kLanes * shape.width() + (kLanes + kBlock + 3) * kBlock) {}

  /// For units of no more than `heads` heads each, all in one tile.
  void operator()(const Unit* units, int64_t count, int64_t heads) {
    open(units, count, heads);
    int64_t block = units->begin / kBlock, end = 0;
    for (int64_t i = 0; i < count; ++i) {
      block = std::min(block, units[i].begin / kBlock);
      end = std::max(end, units[i].end);
    }
    for (; block * kBlock < end; ++block) {
      for (int64_t i = 0; i < count; ++i)
        if (units[i].sees(block)) score(units[i], block, i * heads);
      soften(block);
      for (int64_t i = 0; i < count; ++i)
        if (units[i].sees(block)) add_values(units[i], block, i * heads);
    }
    for (int64_t i = 0; i < count; ++i) close(units[i], i * heads);
  }

 private:
  struct Block {
    const float* data;
    int64_t stride;
  };

  void open(const Unit* units, int64_t count, int64_t heads) {
    std::fill(out_, out_ + kLanes * shape_.width(), 0.0F);
    std::fill(max_, max_ + kLanes, -std::numeric_limits<float>::infinity());
    std::fill(sum_, sum_ + kLanes, 0.0F);
    const auto scale = static_cast<float>(options_.scale);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t h = 0; h < units[i].heads; ++h) {
        const auto lane = static_cast<size_t>(i * heads + h);
        begin_[lane] = static_cast<int32_t>(units[i].begin);
        end_[lane] = static_cast<int32_t>(units[i].end);
        float* row = q_ + static_cast<int64_t>(lane) * shape_.width();
        load(cache_.q.at(units[i].sequence, units[i].head + h), shape_.d, row);
        for (int64_t c = 0; c < shape_.d; ++c) row[c] *= scale;
      }
  }

  /// kBlock keys or values, where they lie if they can be read there.
  Block rows_of_block(const Rows<const T>& rows, int64_t stride, const Unit& u, int64_t block) {
    const T* first = rows.at(block * kBlock, u.kv_head) + u.sequence * stride;
    const int64_t count = std::min(kBlock, u.end - block * kBlock);
    // The next block comes after those of the other units: too late for the processor to guess it.
    const int64_t following = std::min(kBlock, u.end - (block + 1) * kBlock);
    for (int64_t j = 0; j < following; ++j) {
      const T* row = first + (kBlock + j) * rows.row_stride;
      for (int64_t c = 0; c < shape_.d; c += 64 / static_cast<int64_t>(sizeof(T)))
        __builtin_prefetch(row + c, 0, 2);
    }
    if constexpr (std::is_same_v<T, float>)
      if (count == kBlock && shape_.d == shape_.width()) return {first, rows.row_stride};
    for (int64_t j = 0; j < count; ++j)
      load(first + j * rows.row_stride, shape_.d, rows_ + j * shape_.width());
    std::fill(rows_ + count * shape_.width(), rows_ + shape_.tile(), 0.0F);
    return {rows_, shape_.width()};
  }

  void score(const Unit& u, int64_t block, int64_t lane) {
    const Block k = rows_of_block(cache_.k, cache_.k_stride, u, block);
    const int64_t width = shape_.width();
    kernels::attention_rows().transpose(kBlock, width, 1, k.data, k.stride, kt_, kBlock);
    tile_gemm(u.heads, kBlock, width, q_ + lane * width, width, kt_, kBlock, p_ + lane * kBlock,
              kBlock, false);
  }

  void soften(int64_t block) {
    const auto& rows = kernels::attention_rows();
    rows.transpose(kLanes, kBlock, 1, p_, kBlock, lanes_, kBlock);
    std::fill(factor_, factor_ + kLanes, 1.0F);  // a column of ones shows what `out` is scaled by
    rows.softmax(kBlock, kLanes, 1, lanes_,
                 {begin_.data(), end_.data(), static_cast<int32_t>(block * kBlock), false},
                 static_cast<float>(options_.softcap), max_, sum_, factor_);
    rows.transpose(kBlock, kLanes, 1, lanes_, kBlock, p_, kBlock);
  }

  void add_values(const Unit& u, int64_t block, int64_t lane) {
    const Block v = rows_of_block(cache_.v, cache_.v_stride, u, block);
    const int64_t width = shape_.width();
    for (int64_t r = lane; r < lane + u.heads; ++r)
      for (int64_t c = 0; c < width; ++c) out_[r * width + c] *= factor_[r];
    tile_gemm(u.heads, width, kBlock, p_ + lane * kBlock, kBlock, v.data, v.stride,
              out_ + lane * width, width, true);
  }

  void close(const Unit& u, int64_t lane) {
    for (int64_t h = 0; h < u.heads; ++h) {
      float* row = out_ + (lane + h) * shape_.width();
      for (int64_t c = 0; c < shape_.d; ++c) row[c] /= sum_[lane + h];
      store(row, shape_.d, cache_.out.at(u.sequence, u.head + h));
    }
  }

  Cache<T> cache_;
  Shape shape_;
  AttentionOptions options_;
  Scratch scratch_;
  std::array<int32_t, kLanes> begin_{}, end_{};
  float *rows_ = scratch_.take(shape_.tile()), *kt_ = scratch_.take(shape_.tile());
  float* q_ = scratch_.take(kLanes * shape_.width());
  float* out_ = scratch_.take(kLanes * shape_.width());  // [lanes, width]
  float* p_ = scratch_.take(kLanes * kBlock);            // [lanes, keys]
  float* lanes_ = scratch_.take(kBlock * kBlock);        // [keys, lanes]
  float *max_ = scratch_.take(kBlock), *sum_ = scratch_.take(kBlock);
  float* factor_ = scratch_.take(kBlock);
};

template <class T>
Tensor decode(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths,
              const AttentionOptions& o) {
  Tensor out = at::empty(q.sizes(), q.options());
  const int64_t kv_heads = k.size(1);
  const Shape shape{q.size(2), q.size(1) / kv_heads};
  const int64_t heads = std::min(shape.group, kLanes);
  std::vector<Unit> units;
  for (int64_t b = 0; b < q.size(0); ++b) {
    const int64_t end = lengths.const_data_ptr<int64_t>()[b];
    const int64_t begin = o.window > 0 ? std::max<int64_t>(0, end - o.window) : 0;
    for (int64_t h = 0; h < kv_heads; ++h)
      for (int64_t first = 0; first < shape.group; first += heads)
        units.push_back(
            {b, h, h * shape.group + first, std::min(heads, shape.group - first), begin, end});
  }
  const Cache<T> cache{rows_of<const T>(q),
                       rows_of<const T>(k, 2, 1),
                       rows_of<const T>(v, 2, 1),
                       k.stride(0),
                       v.stride(0),
                       rows_of<T>(out)};
  const auto count = static_cast<int64_t>(units.size());
  // Full tiles, but work for every thread.
  const int64_t each = (count + at::get_num_threads() - 1) / at::get_num_threads();
  const int64_t per_tile = std::max<int64_t>(1, std::min(kLanes / heads, each));
  run_tasks((count + per_tile - 1) / per_tile, [&] {
    return [&, worker = Decode<T>(cache, shape, o)](int64_t task) mutable {
      const int64_t first = task * per_tile;
      worker(&units[static_cast<size_t>(first)], std::min(per_tile, count - first), heads);
    };
  });
  return out;
}

}  // namespace

Tensor attention_to_cache(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths,
                          const AttentionOptions& o) {
  const auto fn = q.scalar_type() == at::kFloat ? decode<float> : decode<at::BFloat16>;
  return fn(with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), lengths.contiguous(), o);
}

}  // namespace luce::cpu
