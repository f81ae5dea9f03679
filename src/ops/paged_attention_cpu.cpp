// Attention of one new token per sequence to its pages, on a CPU.
//
// The arithmetic and its bits are those of attention_cpu.cpp: pages are its blocks of keys, at the
// same positions and taken in the same order. There the queries of a tile share their keys; here
// those of one page do, be they heads of a group or sequences with the same prompt. Only the
// softmax takes others together, as lanes.
#include "ops/paged_attention_cpu.h"

#include <ATen/ATen.h>

#include <limits>

#include "ops/attention_blocks.h"
#include "ops/tile_gemm.h"

namespace luce::cpu {
namespace {

static_assert(kPagePositions == kBlock);

constexpr int64_t kLanes = kBlock;  // most query heads of a tile
constexpr int64_t kFewLanes = 3;    // for which a page is not worth widening

/// Query heads [head, head + heads) of a sequence, which see the positions [begin, end) of one
/// key-value head.
struct Unit {
  int64_t sequence, kv_head, head, heads, begin, end;

  bool sees(int64_t block) const { return begin < (block + 1) * kBlock && block * kBlock < end; }
};

template <class T>
struct Arrays {
  Rows<const T> q;
  Rows<T> out;
  const T *keys, *values;
  int64_t keys_page, keys_head, values_page, values_head;  // strides
  const int64_t* table;
  int64_t columns;  // of the table

  int64_t page(const Unit& u, int64_t block) const { return table[u.sequence * columns + block]; }
};

template <class T>
class Decode {
 public:
  Decode(const Arrays<T>& arrays, const Shape& shape, const AttentionOptions& options)
      : arrays_(arrays),
        shape_(shape),
        options_(options),
        scratch_(shape.tile() + 2 * kLanes * shape.width() + (2 * kLanes + 3) * kBlock) {}

  /// For units of no more than kLanes heads altogether.
  void operator()(const Unit* units, int64_t count) {
    open(units, count);
    int64_t block = units->begin / kBlock, end = 0;
    for (int64_t i = 0; i < count; ++i) {
      block = std::min(block, units[i].begin / kBlock);
      end = std::max(end, units[i].end);
    }
    for (; block * kBlock < end; ++block) {
      share(units, count, block);
      for (const Run& run : runs_) score(run);
      soften(block);
      for (const Run& run : runs_) add_values(run);
    }
    for (int64_t i = 0, lane = 0; i < count; lane += units[i++].heads) close(units[i], lane);
  }

 private:
  /// Lanes that see one page of a key-value head, and how many of its positions are looked at.
  struct Run {
    int64_t page, kv_head, lane, lanes, positions;
  };

  void open(const Unit* units, int64_t count) {
    lanes_ = 0;
    begin_.fill(0);
    end_.fill(0);
    const auto scale = static_cast<float>(options_.scale);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t h = 0; h < units[i].heads; ++h, ++lanes_) {
        begin_[static_cast<size_t>(lanes_)] = static_cast<int32_t>(units[i].begin);
        end_[static_cast<size_t>(lanes_)] = static_cast<int32_t>(units[i].end);
        float* row = q_ + lanes_ * shape_.d;
        load(arrays_.q.at(units[i].sequence, units[i].head + h), shape_.d, row);
        for (int64_t c = 0; c < shape_.d; ++c) row[c] *= scale;
      }
    std::fill(out_, out_ + lanes_ * shape_.d, 0.0F);
    std::fill(max_, max_ + kLanes, -std::numeric_limits<float>::infinity());
    std::fill(sum_, sum_ + kLanes, 0.0F);
  }

  /// Finds neighbours that see the same page.
  void share(const Unit* units, int64_t count, int64_t block) {
    runs_.clear();
    int64_t lane = 0;
    for (int64_t i = 0; i < count; lane += units[i++].heads) {
      const Unit& u = units[i];
      if (!u.sees(block)) continue;
      const int64_t page = arrays_.page(u, block);
      const int64_t positions = padded(std::min(kBlock, u.end - block * kBlock));
      Run* last = runs_.empty() ? nullptr : &runs_.back();
      if (last != nullptr && last->page == page && last->kv_head == u.kv_head &&
          last->lane + last->lanes == lane) {
        last->lanes += u.heads;
        last->positions = std::max(last->positions, positions);
      } else {
        runs_.push_back({page, u.kv_head, lane, u.heads, positions});
      }
    }
  }

  const T* keys_of(const Run& r) const {
    return arrays_.keys + r.page * arrays_.keys_page + r.kv_head * arrays_.keys_head;
  }
  const T* values_of(const Run& r) const {
    return arrays_.values + r.page * arrays_.values_page + r.kv_head * arrays_.values_head;
  }

  /// A page of a head in f32: where it lies, or widened.
  const float* tile(const T* page) {
    if constexpr (std::is_same_v<T, float>) return page;
    load(page, shape_.d * kBlock, tile_);
    return tile_;
  }

  void score(const Run& r) {
    const T* keys = keys_of(r);
    const float* q = q_ + r.lane * shape_.d;
    float* p = p_ + r.lane * kBlock;
    if (r.lanes <= kFewLanes)
      tile_rows(r.lanes, r.positions, shape_.d, q, shape_.d, keys, kBlock, p, kBlock, false);
    else
      tile_gemm(r.lanes, r.positions, shape_.d, q, shape_.d, tile(keys), kBlock, p, kBlock, false);
  }

  void soften(int64_t block) {
    const auto& rows = kernels::attention_rows();
    std::fill(factor_, factor_ + kLanes, 1.0F);  // a row of ones shows what `out` is scaled by
    // Groups of 16 lanes of which one sees the block; the rest stays as it is.
    for (int64_t first = 0; first < lanes_; first += 16) {
      int64_t positions = 0;
      for (const Run& r : runs_)
        if (r.lane < first + 16 && first < r.lane + r.lanes)
          positions = std::max(positions, r.positions);
      if (positions == 0) continue;
      rows.transpose(16, positions, 1, p_ + first * kBlock, kBlock, by_key_ + first, kBlock);
      rows.softmax(
          positions, 16, 1, by_key_ + first,
          {begin_.data() + first, end_.data() + first, static_cast<int32_t>(block * kBlock), false},
          static_cast<float>(options_.softcap), max_ + first, sum_ + first, factor_ + first);
      rows.transpose(positions, 16, 1, by_key_ + first, kBlock, p_ + first * kBlock, kBlock);
    }
  }

  void add_values(const Run& r) {
    const T* values = values_of(r);
    for (int64_t lane = r.lane; lane < r.lane + r.lanes; ++lane)
      for (int64_t c = 0; c < shape_.d; ++c) out_[lane * shape_.d + c] *= factor_[lane];
    const float* p = p_ + r.lane * kBlock;
    float* out = out_ + r.lane * shape_.d;
    if (r.lanes <= kFewLanes)
      tile_rows(r.lanes, shape_.d, r.positions, p, kBlock, values, shape_.d, out, shape_.d, true);
    else
      tile_gemm(r.lanes, shape_.d, r.positions, p, kBlock, tile(values), shape_.d, out, shape_.d,
                true);
  }

  void close(const Unit& u, int64_t lane) {
    for (int64_t h = 0; h < u.heads; ++h) {
      float* row = out_ + (lane + h) * shape_.d;
      for (int64_t c = 0; c < shape_.d; ++c) row[c] /= sum_[lane + h];
      store(row, shape_.d, arrays_.out.at(u.sequence, u.head + h));
    }
  }

  Arrays<T> arrays_;
  Shape shape_;
  AttentionOptions options_;
  Scratch scratch_;
  int64_t lanes_ = 0;
  std::vector<Run> runs_;
  std::array<int32_t, kLanes> begin_{}, end_{};  // what pads a group of lanes sees nothing
  float* tile_ = scratch_.take(shape_.tile());
  float *q_ = scratch_.take(kLanes * shape_.width()),
        *out_ = scratch_.take(kLanes * shape_.width());
  float *p_ = scratch_.take(kLanes * kBlock), *by_key_ = scratch_.take(kLanes * kBlock);
  float *max_ = scratch_.take(kBlock), *sum_ = scratch_.take(kBlock);
  float* factor_ = scratch_.take(kBlock);
};

template <class T>
Tensor decode(const Tensor& q, const Pages& pages, const PageTable& table,
              const AttentionOptions& o) {
  Tensor out = at::empty(q.sizes(), q.options());
  const int64_t kv_heads = pages.keys.size(1);
  const Shape shape{q.size(2), q.size(1) / kv_heads};
  const int64_t heads = std::min(shape.group, kLanes);
  const int64_t* ends = table.lengths.const_data_ptr<int64_t>();
  const auto first_page = [&](int64_t b) {
    return table.pages.const_data_ptr<int64_t>()[b * table.pages.size(1)];
  };
  // Sequences of one prompt side by side, so that they share its pages, and head after head, as
  // these lie in a page: what is read is mostly new to the caches and is best read in order.
  std::vector<Unit> units;
  for (int64_t begin = 0, next = 0; begin < q.size(0); begin = next) {
    while (next < q.size(0) && first_page(next) == first_page(begin)) ++next;
    for (int64_t h = 0; h < kv_heads; ++h)
      for (int64_t first = 0; first < shape.group; first += heads)
        for (int64_t b = begin; b < next; ++b)
          units.push_back({b, h, h * shape.group + first, std::min(heads, shape.group - first),
                           o.window > 0 ? std::max<int64_t>(0, ends[b] - o.window) : 0, ends[b]});
  }
  const Arrays<T> arrays{rows_of<const T>(q),
                         rows_of<T>(out),
                         pages.keys.const_data_ptr<T>(),
                         pages.values.const_data_ptr<T>(),
                         pages.keys.stride(0),
                         pages.keys.stride(1),
                         pages.values.stride(0),
                         pages.values.stride(1),
                         table.pages.const_data_ptr<int64_t>(),
                         table.pages.size(1)};
  const auto count = static_cast<int64_t>(units.size());
  // Full tiles, but work for every thread.
  const int64_t each = (count + at::get_num_threads() - 1) / at::get_num_threads();
  const int64_t per_tile = std::max<int64_t>(1, std::min(kLanes / heads, each));
  run_tasks((count + per_tile - 1) / per_tile, [&] {
    return [&, worker = Decode<T>(arrays, shape, o)](int64_t task) mutable {
      const int64_t first = task * per_tile;
      worker(&units[static_cast<size_t>(first)], std::min(per_tile, count - first));
    };
  });
  return out;
}

template <class T>
void write(const Pages& pages, const Tensor& page, const Tensor& offset, const Tensor& k,
           const Tensor& v) {
  const auto from_k = rows_of<const T>(k), from_v = rows_of<const T>(v);
  const int64_t heads = k.size(1), d = k.size(2);
  T *keys = pages.keys.data_ptr<T>(), *values = pages.values.data_ptr<T>();
  const int64_t *places = page.const_data_ptr<int64_t>(), *at = offset.const_data_ptr<int64_t>();
  at::parallel_for(0, k.size(0), 16, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n)
      for (int64_t h = 0; h < heads; ++h) {
        const T *k_row = from_k.at(n, h), *v_row = from_v.at(n, h);
        T* column = keys + places[n] * pages.keys.stride(0) + h * pages.keys.stride(1) + at[n];
        for (int64_t c = 0; c < d; ++c) column[c * kBlock] = k_row[c];
        std::copy_n(
            v_row, d,
            values + places[n] * pages.values.stride(0) + h * pages.values.stride(1) + at[n] * d);
      }
  });
}

}  // namespace

Tensor paged_attention(const Tensor& q, const Pages& pages, const PageTable& table,
                       const AttentionOptions& o) {
  const auto fn = q.scalar_type() == at::kFloat ? decode<float> : decode<at::BFloat16>;
  return fn(with_dense_rows(q), pages, {table.pages.contiguous(), table.lengths.contiguous()}, o);
}

void write_pages(const Pages& pages, const Tensor& page, const Tensor& offset, const Tensor& k,
                 const Tensor& v) {
  const auto fn = k.scalar_type() == at::kFloat ? write<float> : write<at::BFloat16>;
  fn(pages, page.contiguous(), offset.contiguous(), with_dense_rows(k), with_dense_rows(v));
}

}  // namespace luce::cpu
