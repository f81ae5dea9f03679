// Attention over prompt trees, blocked over keys with a running softmax (Dao et al.,
// arXiv:2205.14135, algorithm 1): plain arithmetic in f32 or f64 for what LibTorch's flash
// attention lacks (f32, f64, softcap, windows over a tree). And the sum of two attentions.
#include "attention.cuh"

namespace luce::cuda {
namespace {

/// Rows of a tile: two tiles and the pairs take at most 141 KB of shared memory.
template <class W, int D>
inline constexpr int kForwardRows = D * sizeof(W) <= 512 ? 64 : 32;

/// One block per tile of queries and head. Blocks count tiles of a segment from its end, where work
/// is longest.
template <class T, int D, int B>
__global__ void __launch_bounds__(kAttentionThreads)
    forward_kernel(Attention<T> a, int tiles, T* out, Wide<T>* lse) {
  using W = Wide<T>;
  using Tile = Tiles<W, D, B>;
  constexpr int R = Tile::kEach;
  W* q_tile = shared_memory<W>();
  W* kv_tile = q_tile + Tile::kSize;  // keys, then values
  W* pairs = kv_tile + Tile::kSize;

  const Segment s = a.segments[blockIdx.x / static_cast<unsigned>(tiles)];
  const int begin = (tiles - 1 - static_cast<int>(blockIdx.x) % tiles) * B;
  if (begin >= s.length) return;
  const int head = static_cast<int>(blockIdx.y), kv = head / a.group;
  const int first = s.prefix() + begin, last = min(first + B, s.places());  // the tile's places
  Tile::fill(q_tile, a.q + head * a.width, a.q_stride, a.width,
             [&](int r) { return first + r < last ? s.begin + begin + r : int64_t{-1}; });

  W max[R], sum[R];
  typename Tile::Sums sums = {};
#pragma unroll
  for (int i = 0; i < R; ++i) max[i] = kernels::lowest_of(W(0)), sum[i] = W(0);
  for (int key = first < a.window ? 0 : first - a.window + 1; key < last; key += B) {
    const auto key_row = [&](int r) { return key + r < last ? s.row(key + r) : int64_t{-1}; };
    __syncthreads();  // the values of the last tile are done with
    Tile::fill(kv_tile, a.k + kv * a.width, a.k_stride, a.width, key_row);
    __syncthreads();
    typename Tile::Pairs p;
    Tile::product(q_tile, kv_tile, a.width, p);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      const int query = first + Tile::row(i);
      W top = max[i];
#pragma unroll
      for (int j = 0; j < R; ++j) {
        p[i][j] = a.map.value(p[i][j]);
        if (a.sees(query, key + Tile::pair_column(j))) top = larger(top, p[i][j]);
      }
      top = warp_max<16>(top);
      const W factor = kernels::exp_of(max[i] - top);
      max[i] = top;
      sum[i] *= factor;
#pragma unroll
      for (auto& x : sums[i]) x *= factor;
#pragma unroll
      for (int j = 0; j < R; ++j) {
        const bool seen = a.sees(query, key + Tile::pair_column(j));
        p[i][j] = seen ? kernels::exp_of(p[i][j] - top) : W(0);
        sum[i] += p[i][j];
      }
    }
    __syncthreads();  // the keys are done with
    Tile::fill(kv_tile, a.v + kv * a.width, a.v_stride, a.width, key_row);
    __syncthreads();
    Tile::add_product(p, pairs, kv_tile, sums);
  }
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const W total = warp_sum<16>(sum[i]);
    if (first + Tile::row(i) >= last) continue;
    const int64_t at = (s.begin + begin + Tile::row(i)) * a.heads + head;
#pragma unroll
    for (auto& x : sums[i]) x /= total;
    Tile::write(out + at * a.width, a.width, sums[i]);
    if (Tile::x() == 0) lse[at] = max[i] + kernels::log_of(total);
  }
}

template <class T>
struct Part {
  T* out;
  Wide<T>* lse;
  int64_t lse_row, lse_head;
};

/// A warp per row and head, so that lse may be written in place.
template <class T>
__global__ void merge_kernel(int64_t count, int heads, int width, const int64_t* index,
                             Part<T> first, Part<T> second, Part<T> merged) {
  constexpr int N = 4;
  const int64_t item = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / 32;
  if (item >= count) return;
  const int64_t from = item / heads, head = item % heads;
  const int64_t row = index == nullptr ? from : index[from];
  const auto shares =
      kernels::attention_shares(first.lse[row * first.lse_row + head * first.lse_head],
                                second.lse[from * second.lse_row + head * second.lse_head]);
  __syncwarp();
  if (threadIdx.x % 32 == 0) merged.lse[row * merged.lse_row + head * merged.lse_head] = shares.lse;
  const int64_t at = (row * heads + head) * width;
  for (int c = static_cast<int>(threadIdx.x) % 32 * N; c < width; c += 32 * N) {
    Wide<T> x[N], y[N];
    load<N>(first.out + at + c, width - c, x);
    load<N>(second.out + item * width + c, width - c, y);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = shares.first * x[j] + shares.second * y[j];
    store<N>(merged.out + at + c, width - c, x);
  }
}

template <class T>
Part<T> part_of(const AttentionPart& part) {
  return {static_cast<T*>(part.out), static_cast<Wide<T>*>(part.lse), part.lse_row, part.lse_head};
}

}  // namespace

int attention_forward(const AttentionShape& shape, const AttentionSegments& segments, const void* q,
                      const void* k, const void* v, void* out, void* lse, void* stream) {
  if (!valid(shape)) return cudaErrorInvalidValue;
  if (segments.count == 0 || segments.longest == 0) return cudaSuccess;
  return for_type(shape.type, [&](auto tag) {
    return for_width(shape.width, [&](auto columns) {
      using T = typename decltype(tag)::type;
      using W = Wide<T>;
      constexpr int D = decltype(columns)::value, B = kForwardRows<W, D>;
      using Tile = Tiles<W, D, B>;
      const unsigned tiles = blocks_for(segments.longest, B);
      const Grid grid{
          dim3(static_cast<unsigned>(segments.count) * tiles, static_cast<unsigned>(shape.heads)),
          kAttentionThreads, sizeof(W) * (2 * Tile::kSize + Tile::kPairSize)};
      return launch(forward_kernel<T, D, B>, grid, stream,
                    attention_of<T>(shape, segments, q, k, v), static_cast<int>(tiles),
                    static_cast<T*>(out), static_cast<W*>(lse));
    });
  });
}

int merge_attention(Type type, int64_t rows, int64_t heads, int64_t width, const int64_t* index,
                    const AttentionPart& first, const AttentionPart& second,
                    const AttentionPart& merged, void* stream) {
  if (rows == 0 || heads == 0) return cudaSuccess;
  return for_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch(merge_kernel<T>, {dim3(blocks_for(rows * heads, 8)), 256}, stream, rows * heads,
                  static_cast<int>(heads), static_cast<int>(width), index, part_of<T>(first),
                  part_of<T>(second), part_of<T>(merged));
  });
}

}  // namespace luce::cuda
