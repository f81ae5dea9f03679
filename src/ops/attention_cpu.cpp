// Attention on a CPU in blocks of keys with an online softmax (FlashAttention-2, arXiv:2307.08691):
// scores exist for one tile of at most kBlock keys by kBlock queries at a time.
//
// Blocks of keys lie at fixed positions from the start of their sequence and are taken in order, a
// query is a lane of the tile, and masked keys add exact zeros. So the bits of a row depend on the
// row and the keys that it sees alone. Key-value heads of trees run on different threads.
#include <ATen/ATen.h>

#include <limits>

#include "ops/attention_backend.h"
#include "ops/attention_blocks.h"
#include "ops/tile_gemm.h"

namespace luce::cpu {
namespace {

using Segments = std::vector<TreeSegment>;

/// Calls fn(block of queries) for all of `queries`.
template <class Fn>
void for_each_block(const Queries& queries, const Shape& shape, int64_t window, const Fn& fn) {
  for (int64_t first = 0; first < queries.count * shape.group; first += kBlock)
    fn(QueryBlock(queries, first, shape, window));
}

template <class T>
class Forward {
 public:
  struct Arrays {
    Rows<const T> q, k, v;
    Rows<T> out;
    Rows<float> lse;
  };

  Forward(const Arrays& arrays, const Shape& shape, const AttentionOptions& options, int64_t blocks)
      : arrays_(arrays),
        shape_(shape),
        options_(options),
        scratch_(KeyBlocks<T>::size(shape, blocks) + 3 * shape.tile() + (kBlock + 2) * kBlock),
        keys_(arrays.k, arrays.v, shape, blocks, KeyBlocks<T>::Pass::forward, scratch_) {}

  void operator()(const TreeSegment& s, const Queries& queries) {
    keys_.open(s, queries.head);
    for_each_block(queries, shape_, options_.window, [&](const QueryBlock& block) { run(block); });
  }

 private:
  void run(const QueryBlock& queries) {
    const auto& rows = kernels::attention_rows();
    const int64_t width = shape_.width(), n = queries.width();
    const auto cap = static_cast<float>(options_.softcap);
    queries.load_rows(arrays_.q, shape_, q_);
    rows.transpose(n, width, static_cast<float>(options_.scale), q_, width, qt_, kBlock);
    std::fill(max_, max_ + kBlock, -std::numeric_limits<float>::infinity());
    std::fill(sum_, sum_ + kBlock, 0.0F);
    std::fill(out_, out_ + shape_.tile(), 0.0F);
    queries.for_each_tile([&](const Tile& t) {
      const KeyBlock key = keys_.at(t.block);
      tile_gemm(t.keys, t.queries, width, key.k + t.key * width, width, qt_ + t.query, kBlock,
                scores_, kBlock, false);
      rows.softmax(t.keys, t.queries, width, scores_, queries.visible(t), cap, max_ + t.query,
                   sum_ + t.query, out_ + t.query);
      tile_gemm(width, t.queries, t.keys, key.transposed + t.key, kBlock, scores_, kBlock,
                out_ + t.query, kBlock, true);
    });
    rows.finish(n, width, max_, sum_, out_, max_);
    rows.transpose(width, n, 1, out_, kBlock, q_, width);
    queries.store_rows(q_, shape_, arrays_.out);
    for (int64_t r = 0; r < queries.count(); ++r)
      *arrays_.lse.at(queries.row(r), queries.head(r)) = max_[r];
  }

  Arrays arrays_;
  Shape shape_;
  AttentionOptions options_;
  Scratch scratch_;
  KeyBlocks<T> keys_;
  float *q_ = scratch_.take(shape_.tile()), *qt_ = scratch_.take(shape_.tile());
  float *out_ = scratch_.take(shape_.tile()), *scores_ = scratch_.take(kBlock * kBlock);
  float *max_ = scratch_.take(kBlock), *sum_ = scratch_.take(kBlock);
};

template <class T>
class Backward {
 public:
  struct Arrays {
    Rows<const T> q, k, v, out, d_out;
    Rows<const float> lse;
    Rows<T> dq;
    Rows<float> dk, dv;
  };

  Backward(const Arrays& arrays, const Shape& shape, const AttentionOptions& options,
           int64_t blocks)
      : arrays_(arrays),
        shape_(shape),
        options_(options),
        scratch_(KeyBlocks<T>::size(shape, blocks) + (2 * blocks + 5) * shape.tile() +
                 2 * kBlock * (kBlock + 1)),
        keys_(arrays.k, arrays.v, shape, blocks, KeyBlocks<T>::Pass::backward, scratch_),
        dk_(scratch_.take(blocks * shape.tile())),
        dv_(scratch_.take(blocks * shape.tile())) {}

  void operator()(const TreeSegment& s, const Queries& queries) {
    const int64_t keys = s.prefix_length + s.length;
    keys_.open(s, queries.head);
    for (float* sums : {dk_, dv_}) std::fill(sums, sums + padded(keys) * shape_.width(), 0.0F);
    for_each_block(queries, shape_, options_.window, [&](const QueryBlock& block) { run(block); });
    const auto& rows = kernels::attention_rows();
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t row = row_at(s, j);
      rows.add(shape_.d, dk_ + j * shape_.width(), arrays_.dk.at(row, queries.head));
      rows.add(shape_.d, dv_ + j * shape_.width(), arrays_.dv.at(row, queries.head));
    }
  }

 private:
  void run(const QueryBlock& queries) {
    const auto& rows = kernels::attention_rows();
    const int64_t width = shape_.width(), n = queries.width();
    const auto scale = static_cast<float>(options_.scale);
    const auto cap = static_cast<float>(options_.softcap);
    // D = rowsum(dO ∘ O); out and dQᵀ take turns in one tile.
    queries.load_rows(arrays_.d_out, shape_, d_out_);
    rows.transpose(n, width, 1, d_out_, width, d_out_t_, kBlock);
    queries.load_rows(arrays_.out, shape_, q_);
    rows.transpose(n, width, 1, q_, width, dqt_, kBlock);
    rows.dot(n, width, d_out_t_, dqt_, delta_);
    std::fill(dqt_, dqt_ + shape_.tile(), 0.0F);
    queries.load_rows(arrays_.q, shape_, q_);
    rows.transpose(n, width, scale, q_, width, qt_, kBlock);
    // What pads the block gets P = exp(−∞).
    std::fill(lse_, lse_ + kBlock, std::numeric_limits<float>::infinity());
    for (int64_t r = 0; r < queries.count(); ++r)
      lse_[r] = *arrays_.lse.at(queries.row(r), queries.head(r));
    queries.for_each_tile([&](const Tile& t) {
      const KeyBlock key = keys_.at(t.block);
      const int64_t keys_at = t.key * width, queries_at = t.query * width;
      float *dk = dk_ + t.block * shape_.tile(), *dv = dv_ + t.block * shape_.tile();
      tile_gemm(t.keys, t.queries, width, key.k + keys_at, width, qt_ + t.query, kBlock, p_, kBlock,
                false);
      tile_gemm(t.keys, t.queries, width, key.v + keys_at, width, d_out_t_ + t.query, kBlock, ds_,
                kBlock, false);
      rows.gradient(t.keys, t.queries, p_, ds_, queries.visible(t), scale, cap, lse_ + t.query,
                    delta_ + t.query);
      tile_gemm(t.keys, width, t.queries, p_, kBlock, d_out_ + queries_at, width, dv + keys_at,
                width, true);
      tile_gemm(t.keys, width, t.queries, ds_, kBlock, q_ + queries_at, width, dk + keys_at, width,
                true);
      tile_gemm(width, t.queries, t.keys, key.transposed + t.key, kBlock, ds_, kBlock,
                dqt_ + t.query, kBlock, true);
    });
    rows.transpose(width, n, 1, dqt_, kBlock, q_, width);
    queries.store_rows(q_, shape_, arrays_.dq);
  }

  Arrays arrays_;
  Shape shape_;
  AttentionOptions options_;
  Scratch scratch_;
  KeyBlocks<T> keys_;
  float *dk_, *dv_;  // [keys, width]
  float *q_ = scratch_.take(shape_.tile()), *qt_ = scratch_.take(shape_.tile());
  float *d_out_ = scratch_.take(shape_.tile()), *d_out_t_ = scratch_.take(shape_.tile());
  float* dqt_ = scratch_.take(shape_.tile());
  float *p_ = scratch_.take(kBlock * kBlock), *ds_ = scratch_.take(kBlock * kBlock);
  float *lse_ = scratch_.take(kBlock), *delta_ = scratch_.take(kBlock);
};

/// Runs a pass over every segment: a key-value head of a tree is a task, its segments in order.
template <class Worker>
void run_forest(const typename Worker::Arrays& arrays, const Tensor& q, int64_t kv_heads,
                const Segments& segments, const AttentionOptions& o) {
  const Shape shape{q.size(2), q.size(1) / kv_heads};
  const auto forest = attention_trees(segments);
  int64_t longest = 0;
  for (const auto& s : segments) longest = std::max(longest, s.prefix_length + s.length);
  const int64_t blocks = (longest + kBlock - 1) / kBlock;
  run_tasks(static_cast<int64_t>(forest.size()) * kv_heads, [&] {
    return [&, worker = Worker(arrays, shape, o, blocks)](int64_t task) mutable {
      for (const size_t i : forest[static_cast<size_t>(task / kv_heads)]) {
        const TreeSegment& s = segments[i];
        worker(s, {s.begin, s.length, s.prefix_length, task % kv_heads});
      }
    };
  });
}

template <class T>
AttentionResult forward(const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                        const AttentionOptions& o) {
  Tensor out = at::zeros(q.sizes(), q.options());
  Tensor lse = at::zeros({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
  run_forest<Forward<T>>({rows_of<const T>(q), rows_of<const T>(k), rows_of<const T>(v),
                          rows_of<T>(out), rows_of<float>(lse)},
                         q, k.size(1), segments, o);
  return {out, lse};
}

template <class T>
AttentionGradients backward(const Tensor& d_out, const AttentionSaved& saved,
                            const Segments& segments, const AttentionOptions& o) {
  const Tensor q = with_dense_rows(saved.q), k = with_dense_rows(saved.k),
               v = with_dense_rows(saved.v);
  const auto f32 = q.options().dtype(at::kFloat);
  Tensor dq = at::zeros(q.sizes(), q.options());
  Tensor dk = at::zeros(k.sizes(), f32), dv = at::zeros(v.sizes(), f32);
  run_forest<Backward<T>>(
      {rows_of<const T>(q), rows_of<const T>(k), rows_of<const T>(v), rows_of<const T>(saved.out),
       rows_of<const T>(d_out), rows_of<const float>(saved.lse), rows_of<T>(dq), rows_of<float>(dk),
       rows_of<float>(dv)},
      q, k.size(1), segments, o);
  return {dq, dk.to(q.scalar_type()), dv.to(q.scalar_type())};
}

}  // namespace

bool attention_covers(const Tensor& q) {
  return q.is_cpu() && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16);
}

AttentionResult attention_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Segments& segments, const AttentionOptions& o) {
  const auto fn = q.scalar_type() == at::kFloat ? forward<float> : forward<at::BFloat16>;
  return fn(with_dense_rows(q), with_dense_rows(k), with_dense_rows(v), segments, o);
}

AttentionGradients attention_backward(const Tensor& d_out, const AttentionSaved& saved,
                                      const Segments& segments, const AttentionOptions& o) {
  const auto fn = saved.q.scalar_type() == at::kFloat ? backward<float> : backward<at::BFloat16>;
  return fn(with_dense_rows(d_out), saved, segments, o);
}

}  // namespace luce::cpu
