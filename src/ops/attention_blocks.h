// What the CPU attention is cut into: blocks of queries and of keys, widened to f32 and padded with
// zeros to multiples of 16.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/attention_rows.h"
#include "kernels/kernels.h"
#include "luce/ops/attention.h"
#include "ops/tile_gemm.h"

namespace luce::cpu {

inline constexpr int64_t kBlock = kernels::kAttentionBlock;

inline int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }

inline void load(const float* row, int64_t d, float* to) {
  std::memcpy(to, row, static_cast<size_t>(d) * sizeof(float));
}
inline void load(const at::BFloat16* row, int64_t d, float* to) {
  kernels::table().widen(d, reinterpret_cast<const uint16_t*>(row), to);
}
inline void store(const float* from, int64_t d, float* row) {
  std::memcpy(row, from, static_cast<size_t>(d) * sizeof(float));
}
inline void store(const float* from, int64_t d, at::BFloat16* row) {
  kernels::table().narrow(d, from, reinterpret_cast<uint16_t*>(row));
}

/// The rows [row, head] of a tensor, each of d contiguous elements.
template <class T>
struct Rows {
  T* data;
  int64_t row_stride, head_stride;

  T* at(int64_t row, int64_t head) const { return data + row * row_stride + head * head_stride; }
};

/// Rows by the dimensions of `t` that stand for row and head.
template <class T>
Rows<T> rows_of(const Tensor& t, int64_t row = 0, int64_t head = 1) {
  return {t.data_ptr<std::remove_const_t<T>>(), t.stride(row), t.stride(head)};
}

inline Tensor with_dense_rows(const Tensor& t) { return t.stride(-1) == 1 ? t : t.contiguous(); }

struct Shape {
  int64_t d, group;  // width of a head; query heads of a key-value head
  int64_t width() const { return padded(d); }
  int64_t tile() const { return kBlock * width(); }  // floats of a block of queries or keys
};

/// Zeroed floats, taken in pieces of whole cache lines.
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : memory_(new float[static_cast<size_t>(size + 16)]()), next_(memory_.get()) {
    while (reinterpret_cast<uintptr_t>(next_) % 64 != 0) ++next_;
  }
  float* take(int64_t size) { return std::exchange(next_, next_ + size); }

 private:
  std::unique_ptr<float[]> memory_;
  float* next_;
};

/// Runs tasks on all threads, each with a worker of its own: worker(task).
template <class MakeWorker>
void run_tasks(int64_t tasks, const MakeWorker& make_worker) {
  std::atomic<int64_t> next{0};
  const int64_t workers = std::min<int64_t>(tasks, at::get_num_threads());
  at::parallel_for(0, workers, 1, [&](int64_t, int64_t) {
    auto worker = make_worker();
    for (int64_t task = next++; task < tasks; task = next++) worker(task);
    tile_gemm_release();
  });
}

/// Scores that are computed at once: `keys` from `key` on of a block of keys and `queries` from
/// `query` on of a block of queries, all multiples of 16.
struct Tile {
  int64_t block, key, keys, query, queries;
};

/// Queries of one key-value head: all its heads of `count` rows from `row` on, of which the first
/// stands at `position` of its sequence.
struct Queries {
  int64_t row, count, position, head;
};

/// Up to kBlock of them from the `first` on, a query being one head of one row.
class QueryBlock {
 public:
  QueryBlock(const Queries& queries, int64_t first, const Shape& shape, int64_t window)
      : queries_(queries),
        group_(shape.group),
        first_(first),
        count_(std::min(kBlock, queries.count * shape.group - first)) {
    for (int64_t r = 0; r < count_; ++r) {
      const int64_t position = queries.position + (first + r) / group_;
      const int64_t begin = window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
      begin_[static_cast<size_t>(r)] = static_cast<int32_t>(begin);
      end_[static_cast<size_t>(r)] = static_cast<int32_t>(position + 1);
    }
  }

  int64_t count() const { return count_; }
  int64_t width() const { return padded(count_); }
  int64_t row(int64_t r) const { return queries_.row + (first_ + r) / group_; }
  int64_t head(int64_t r) const { return queries_.head * group_ + (first_ + r) % group_; }

  /// Calls fn(tile) for what they see of each block of keys, in ascending order: 16 queries at a
  /// time with the keys that one of them sees, side by side where these are the same.
  template <class Fn>
  void for_each_tile(const Fn& fn) const {
    for (int64_t block = begin_[0] / kBlock; block * kBlock < end(count_ - 1); ++block)
      for (Tile tile = tile_at(block, 0), next; tile.queries > 0; tile = next) {
        while ((next = tile_at(block, tile.query + tile.queries)).queries > 0 &&
               next.key == tile.key && next.keys == tile.keys)
          tile.queries += next.queries;
        if (tile.keys > 0) fn(tile);
      }
  }
  kernels::VisibleKeys visible(const Tile& t) const {
    const int64_t key = t.block * kBlock + t.key;
    const int64_t last = std::min(t.query + t.queries, count_) - 1;
    const bool all = begin(last) <= key && key + t.keys <= end(t.query);
    return {begin_.data() + t.query, end_.data() + t.query, static_cast<int32_t>(key), all};
  }

  /// Rows → [kBlock, width of a head], zeros around them.
  template <class T>
  void load_rows(const Rows<const T>& from, const Shape& shape, float* to) const {
    std::fill(to, to + shape.tile(), 0.0F);
    for (int64_t r = 0; r < count_; ++r)
      load(from.at(row(r), head(r)), shape.d, to + r * shape.width());
  }
  template <class T>
  void store_rows(const float* from, const Shape& shape, const Rows<T>& to) const {
    for (int64_t r = 0; r < count_; ++r)
      store(from + r * shape.width(), shape.d, to.at(row(r), head(r)));
  }

 private:
  int64_t begin(int64_t r) const { return begin_[static_cast<size_t>(r)]; }
  int64_t end(int64_t r) const { return end_[static_cast<size_t>(r)]; }
  Tile tile_at(int64_t block, int64_t query) const {
    if (query >= count_) return {};
    const int64_t first = block * kBlock, last = std::min(query + 15, count_ - 1);
    const int64_t key = std::max<int64_t>(0, begin(query) - first) / 16 * 16;
    const int64_t past = padded(std::clamp<int64_t>(end(last) - first, 0, kBlock));
    return {block, key, std::max<int64_t>(0, past - key), query, 16};
  }

  Queries queries_;
  int64_t group_, first_, count_;
  std::array<int32_t, kBlock> begin_{}, end_{};  // what pads the block sees nothing
};

/// The row of the key at `position` of a segment's sequence: its prefix, then itself.
inline int64_t row_at(const TreeSegment& s, int64_t position) {
  return position < s.prefix_length ? s.prefix_begin + position
                                    : s.begin + position - s.prefix_length;
}

struct KeyBlock {
  const float *k, *v;       // [kBlock, width]
  const float* transposed;  // [width, kBlock]: values for a forward pass, keys for a backward pass
};

/// The keys and values of one head of a sequence, block by block at fixed positions, loaded when
/// they are asked for. Blocks of a prefix stay for the next sequence that begins with it.
template <class T>
class KeyBlocks {
 public:
  enum class Pass { forward, backward };

  /// Room for sequences of up to `blocks` blocks.
  KeyBlocks(const Rows<const T>& k, const Rows<const T>& v, const Shape& shape, int64_t blocks,
            Pass pass, Scratch& scratch)
      : k_(k),
        v_(v),
        shape_(shape),
        pass_(pass),
        memory_(scratch.take(size(shape, blocks))),
        held_(static_cast<size_t>(blocks), false) {}

  static int64_t size(const Shape& shape, int64_t blocks) { return 3 * blocks * shape.tile(); }

  void open(const TreeSegment& s, int64_t head) {
    const bool same = head == head_ && row_at(s, 0) == row_at(sequence_, 0);
    const int64_t kept = same ? std::min(first_run(s), first_run(sequence_)) / kBlock : 0;
    std::fill(held_.begin() + kept, held_.end(), false);
    sequence_ = s;
    head_ = head;
  }

  KeyBlock at(int64_t block) {
    float* k = memory_ + 3 * block * shape_.tile();
    float *v = k + shape_.tile(), *transposed = v + shape_.tile();
    if (!std::exchange(held_[static_cast<size_t>(block)], true))
      load_block(block, k, v, transposed);
    return {k, v, transposed};
  }

 private:
  static int64_t first_run(const TreeSegment& s) {
    return s.prefix_length > 0 ? s.prefix_length : s.length;
  }

  void load_block(int64_t block, float* k, float* v, float* transposed) {
    const int64_t first = block * kBlock, width = shape_.width();
    const int64_t keys = std::min(kBlock, sequence_.prefix_length + sequence_.length - first);
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t row = row_at(sequence_, first + j);
      load(k_.at(row, head_), shape_.d, k + j * width);
      load(v_.at(row, head_), shape_.d, v + j * width);
    }
    std::fill(k + keys * width, k + padded(keys) * width, 0.0F);
    std::fill(v + keys * width, v + padded(keys) * width, 0.0F);
    kernels::attention_rows().transpose(padded(keys), width, 1, pass_ == Pass::forward ? v : k,
                                        width, transposed, kBlock);
  }

  Rows<const T> k_, v_;
  Shape shape_;
  Pass pass_;
  float* memory_;
  std::vector<char> held_;  // which blocks are loaded
  TreeSegment sequence_;
  int64_t head_ = -1;
};

}  // namespace luce::cpu
