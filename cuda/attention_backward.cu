// Gradients of attention over prompt trees (Dao, arXiv:2307.08691, algorithm 2). With scores
// S = map(Q Kᵀ), P = exp(S − lse) and δ = rowsum(dO ∘ O):
//   dS = P ∘ (dO Vᵀ − δ) ∘ map′(S)      dQ = dS K      dK = dSᵀ Q      dV = Pᵀ dO
// Scores are computed again, by tiles of queries for dQ and by tiles of keys for dK and dV. A tile
// of keys goes through all segments that read it, so that no two blocks write the same gradient.
#include "attention.cuh"

namespace luce::cuda {
namespace {

/// Rows of a tile: four tiles and the pairs take at most 142 KB of shared memory.
template <class W, int D>
inline constexpr int kBackwardRows = D * sizeof(W) <= 256    ? 64
                                     : D * sizeof(W) <= 1024 ? 32
                                                             : 16;

template <class T>
struct Output {
  const T *out, *d_out;
  const Wide<T>* lse;
  Wide<T>* delta;
  T *dq, *dk, *dv;
};

/// One block per tile of queries and head, as in the forward pass. Also writes delta.
template <class T, int D, int B>
__global__ void __launch_bounds__(kAttentionThreads)
    query_kernel(Attention<T> a, Output<T> o, int tiles) {
  using W = Wide<T>;
  using Tile = Tiles<W, D, B>;
  constexpr int R = Tile::kEach;
  W* q_tile = shared_memory<W>();
  W* do_tile = q_tile + Tile::kSize;
  W* k_tile = do_tile + Tile::kSize;
  W* v_tile = k_tile + Tile::kSize;
  W* pairs = v_tile + Tile::kSize;

  const Segment s = a.segments[blockIdx.x / static_cast<unsigned>(tiles)];
  const int begin = (tiles - 1 - static_cast<int>(blockIdx.x) % tiles) * B;
  if (begin >= s.length) return;
  const int head = static_cast<int>(blockIdx.y), kv = head / a.group;
  const int first = s.prefix() + begin, last = min(first + B, s.places());
  const auto query_row = [&](int r) { return first + r < last ? s.row(first + r) : int64_t{-1}; };
  const int64_t out_stride = int64_t{a.heads} * a.width;
  Tile::fill(q_tile, a.q + head * a.width, a.q_stride, a.width, query_row);
  Tile::fill(do_tile, o.d_out + head * a.width, out_stride, a.width, query_row);
  __syncthreads();

  W lse[R], delta[R];
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int64_t row = query_row(Tile::row(i)), at = row * a.heads + head;
    W dot = 0;
    for (int c = Tile::x(); row >= 0 && c < a.width; c += 16)
      dot += do_tile[Tile::row(i) * Tile::kStride + c] * wide(o.out[at * a.width + c]);
    delta[i] = warp_sum<16>(dot);
    lse[i] = row < 0 ? W(0) : o.lse[at];
    if (row >= 0 && Tile::x() == 0) o.delta[at] = delta[i];
  }

  typename Tile::Sums dq = {};
  for (int key = first < a.window ? 0 : first - a.window + 1; key < last; key += B) {
    const auto key_row = [&](int r) { return key + r < last ? s.row(key + r) : int64_t{-1}; };
    __syncthreads();  // the last tile is done with
    Tile::fill(k_tile, a.k + kv * a.width, a.k_stride, a.width, key_row);
    Tile::fill(v_tile, a.v + kv * a.width, a.v_stride, a.width, key_row);
    __syncthreads();
    typename Tile::Pairs z, ds;
    Tile::product(q_tile, k_tile, a.width, z);
    Tile::product(do_tile, v_tile, a.width, ds);
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const int query = first + Tile::row(i);
        const W score = a.map.value(z[i][j]);
        const bool seen = query < last && a.sees(query, key + Tile::pair_column(j));
        const W p = seen ? kernels::exp_of(score - lse[i]) : W(0);
        ds[i][j] = seen ? p * (ds[i][j] - delta[i]) * a.map.slope(score) : W(0);
      }
    Tile::add_product(ds, pairs, k_tile, dq);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int64_t row = query_row(Tile::row(i));
    if (row >= 0) Tile::write(o.dq + row * a.q_stride + head * a.width, a.width, dq[i]);
  }
}

/// A row of AttentionReaders::runs.
struct Run {
  int64_t begin, length, first_reader, readers;
};
static_assert(sizeof(Run) == 4 * sizeof(int64_t));

/// One block per tile of keys and key-value head. Rows of its products are keys, columns queries.
template <class T, int D, int B>
__global__ void __launch_bounds__(kAttentionThreads)
    key_kernel(Attention<T> a, Output<T> o, const Run* runs, const int64_t* readers, int tiles) {
  using W = Wide<T>;
  using Tile = Tiles<W, D, B>;
  constexpr int R = Tile::kEach;
  W* k_tile = shared_memory<W>();
  W* v_tile = k_tile + Tile::kSize;
  W* q_tile = v_tile + Tile::kSize;
  W* do_tile = q_tile + Tile::kSize;
  W* pairs = do_tile + Tile::kSize;

  const Run run = runs[blockIdx.x / static_cast<unsigned>(tiles)];
  const int64_t begin = run.begin + static_cast<int>(blockIdx.x) % tiles * B;
  const int64_t end = run.begin + run.length;
  if (begin >= end) return;
  const int kv = static_cast<int>(blockIdx.y);
  const auto key_row = [&](int r) { return begin + r < end ? begin + r : int64_t{-1}; };
  Tile::fill(k_tile, a.k + kv * a.width, a.k_stride, a.width, key_row);
  Tile::fill(v_tile, a.v + kv * a.width, a.v_stride, a.width, key_row);

  typename Tile::Sums dk = {}, dv = {};
  for (int64_t reader = 0; reader < run.readers; ++reader) {
    const Segment s = a.segments[readers[run.first_reader + reader]];
    int place[R];  // of the thread's keys
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int64_t row = key_row(Tile::row(i));
      place[i] = row < 0 ? -1 : s.place(row);
    }
    // The places of the queries that see a key of the tile, as far as that is cheap to say.
    const int64_t tile_end = min(begin + B, end);
    const bool in_prefix = begin < s.prefix_begin + s.prefix_length && tile_end > s.prefix_begin;
    const int first = in_prefix ? s.prefix() : max(s.prefix(), s.place(begin));
    int last = s.places();
    if (a.window < last) {
      int furthest = -1;
      for (int r = 0; r < B && begin + r < end; ++r) furthest = max(furthest, s.place(begin + r));
      last = min(last, furthest + a.window);
    }
    for (int member = 0; member < a.group; ++member) {
      const int head = kv * a.group + member;
      for (int query = first; query < last; query += B) {
        const auto query_row = [&](int r) {
          return query + r < last ? s.row(query + r) : int64_t{-1};
        };
        __syncthreads();  // the last tile is done with
        Tile::fill(q_tile, a.q + head * a.width, a.q_stride, a.width, query_row);
        Tile::fill(do_tile, o.d_out + head * a.width, int64_t{a.heads} * a.width, a.width,
                   query_row);
        __syncthreads();
        typename Tile::Pairs p, ds;
        Tile::product(k_tile, q_tile, a.width, p);
        Tile::product(v_tile, do_tile, a.width, ds);
#pragma unroll
        for (int j = 0; j < R; ++j) {
          const int64_t row = query_row(Tile::pair_column(j)), at = row * a.heads + head;
          const W lse = row < 0 ? W(0) : o.lse[at], delta = row < 0 ? W(0) : o.delta[at];
#pragma unroll
          for (int i = 0; i < R; ++i) {
            const bool seen =
                row >= 0 && place[i] >= 0 && a.sees(query + Tile::pair_column(j), place[i]);
            const W score = a.map.value(p[i][j]);
            p[i][j] = seen ? kernels::exp_of(score - lse) : W(0);
            ds[i][j] = seen ? p[i][j] * (ds[i][j] - delta) * a.map.slope(score) : W(0);
          }
        }
        Tile::add_product(p, pairs, do_tile, dv);
        Tile::add_product(ds, pairs, q_tile, dk);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int64_t row = key_row(Tile::row(i));
    if (row < 0) continue;
    Tile::write(o.dk + row * a.k_stride + kv * a.width, a.width, dk[i]);
    Tile::write(o.dv + row * a.v_stride + kv * a.width, a.width, dv[i]);
  }
}

}  // namespace

int attention_backward(const AttentionShape& shape, const AttentionSegments& segments,
                       const AttentionReaders& readers, const void* q, const void* k, const void* v,
                       const void* out, const void* lse, const void* d_out, void* delta, void* dq,
                       void* dk, void* dv, void* stream) {
  if (!valid(shape)) return cudaErrorInvalidValue;
  if (segments.count == 0 || segments.longest == 0) return cudaSuccess;
  return for_type(shape.type, [&](auto tag) {
    return for_width(shape.width, [&](auto columns) {
      using T = typename decltype(tag)::type;
      using W = Wide<T>;
      constexpr int D = decltype(columns)::value, B = kBackwardRows<W, D>;
      using Tile = Tiles<W, D, B>;
      const auto a = attention_of<T>(shape, segments, q, k, v);
      const Output<T> o{static_cast<const T*>(out), static_cast<const T*>(d_out),
                        static_cast<const W*>(lse), static_cast<W*>(delta),
                        static_cast<T*>(dq),        static_cast<T*>(dk),
                        static_cast<T*>(dv)};
      const auto grid = [&](int64_t count, int64_t longest, int64_t heads) {
        return Grid{dim3(static_cast<unsigned>(count) * blocks_for(longest, B),
                         static_cast<unsigned>(heads)),
                    kAttentionThreads, sizeof(W) * (4 * Tile::kSize + Tile::kPairSize)};
      };
      const int error =
          launch(query_kernel<T, D, B>, grid(segments.count, segments.longest, shape.heads), stream,
                 a, o, static_cast<int>(blocks_for(segments.longest, B)));
      if (error != 0 || readers.count == 0 || readers.longest == 0) return error;
      return launch(key_kernel<T, D, B>, grid(readers.count, readers.longest, shape.kv_heads),
                    stream, a, o, reinterpret_cast<const Run*>(readers.runs), readers.segments,
                    static_cast<int>(blocks_for(readers.longest, B)));
    });
  });
}

}  // namespace luce::cuda
