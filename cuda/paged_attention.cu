// Attention of one new token a sequence to keys and values in pages: memory read once, sums in
// running form (Milakov & Gimelshein, arXiv:1805.02867), the pages of a long sequence spread over
// several blocks whose parts are merged (flash-decoding: Dao, Haziza, Massa & Sizov, 2023):
//
//   part s    m_s = max z_j,  l_s = Σ e^(z_j − m_s),  o_s = Σ e^(z_j − m_s) v_j
//   merged    out = Σ_s e^(m_s − m) o_s / Σ_s e^(m_s − m) l_s,   m = max m_s
//
// m and l are kept apart: log-sum-exp in their place would lose the digits of m.
#include "paged_attention.cuh"

namespace luce::cuda {
namespace {

/// One block per row, part of it and G query heads. Neighbouring blocks are rows: those with the
/// same prompt find its pages in the cache. Blocks without a part end at once.
template <class T, int D, int G>
__global__ void __launch_bounds__(kPagedThreads)
    part_kernel(Paged<T> a, T* out, Wide<T>* part_out, Wide<T>* part_sums) {
  using W = Wide<T>;
  constexpr int N = D / 32;
  auto& s = *shared_memory<PagedShared<W, D, G>>();
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int64_t row = blockIdx.x % a.rows;
  const int part = static_cast<int>(blockIdx.x / a.rows);
  const int group = a.heads / a.kv_heads, tiles = (group - 1) / G + 1;
  const int kv = static_cast<int>(blockIdx.y) / tiles,
            skip = static_cast<int>(blockIdx.y) % tiles * G;
  const int head = kv * group + skip, heads = min(G, group - skip);
  const PageCut cut(a.lengths[row], a.window);
  if (part >= cut.parts) return;

  for (int i = thread; i < D * G; i += kPagedThreads) {
    const int g = i / D, c = i % D;
    const bool inside = g < heads && c < a.width;
    s.q[c][g] = inside ? wide(a.q[(row * a.heads + head + g) * a.width + c]) : W(0);
  }
  if (thread < G) {
    s.max[thread] = kernels::lowest_of(W(0));
    s.sum[thread] = W(0);
  }
  W sums[G][N] = {};
  const int64_t* table = a.table + row * a.columns;
  const int page_end = min(cut.first_page + (part + 1) * cut.pages, (cut.end + kPage - 1) / kPage);
  for (int page = cut.first_page + part * cut.pages; page < page_end; ++page) {
    const int64_t at = table[page];
    const int first = page * kPage;
    const T* values = a.values + at * a.values_page + kv * a.values_head;
    __syncthreads();  // q is there; the last page's p is done with
    score<T>(a.keys + at * a.keys_page + kv * a.keys_head, a.width, s);
    __syncthreads();
    soften<T>(a.map, cut, first, s);
    __syncthreads();
    const int from = max(cut.begin - first, 0), to = min(cut.end - first, kPage);
    if (a.width % N == 0 && aligned<N>(values))
      add_values<true>(values, from, to, a.width, s, sums);
    else
      add_values<false>(values, from, to, a.width, s, sums);
  }

  // The warps' sums, one after the other.
  W* total = &s.scores[0][0][0];
  static_assert(kPagedWarps * kPage >= D);
  for (int w = 0; w < kPagedWarps; ++w) {
    __syncthreads();
    if (warp != w) continue;
    for (int g = 0; g < G; ++g)
      for (int n = 0; n < N; ++n) {
        W& to = total[g * D + thread % 32 * N + n];
        to = w == 0 ? sums[g][n] : to + sums[g][n];
      }
  }
  __syncthreads();
  for (int i = thread; i < heads * a.width; i += kPagedThreads) {
    const int g = i / a.width, c = i % a.width;
    const int64_t item = row * a.heads + head + g;
    if (cut.parts == 1)
      out[item * a.width + c] = narrow<T>(total[g * D + c] / s.sum[g]);
    else
      part_out[(item * a.most + part) * a.width + c] = total[g * D + c];
  }
  if (cut.parts == 1 || thread >= heads) return;
  W* to = part_sums + ((row * a.heads + head + thread) * a.most + part) * 2;
  to[0] = s.max[thread];
  to[1] = s.sum[thread];
}

/// A warp per row and head.
template <class T>
__global__ void merge_kernel(Paged<T> a, const Wide<T>* part_out, const Wide<T>* part_sums,
                             T* out) {
  using W = Wide<T>;
  constexpr int N = 4;
  const int64_t item = (blockIdx.x * int64_t{blockDim.x} + threadIdx.x) / 32;
  if (item >= a.rows * a.heads) return;
  const PageCut cut(a.lengths[item / a.heads], a.window);
  if (cut.parts == 1) return;  // it is written
  const W* sums = part_sums + item * a.most * 2;
  W max = sums[0], total = W(0);
  for (int p = 1; p < cut.parts; ++p) max = larger(max, sums[p * 2]);
  for (int p = 0; p < cut.parts; ++p) total += kernels::exp_of(sums[p * 2] - max) * sums[p * 2 + 1];
  for (int c = static_cast<int>(threadIdx.x) % 32 * N; c < a.width; c += 32 * N) {
    W value[N] = {};
    for (int p = 0; p < cut.parts; ++p) {
      W x[N];
      load<N>(part_out + (item * a.most + p) * a.width + c, a.width - c, x);
      const W share = kernels::exp_of(sums[p * 2] - max) / total;
#pragma unroll
      for (int n = 0; n < N; ++n) value[n] += share * x[n];
    }
    store<N>(out + item * a.width + c, a.width - c, value);
  }
}

/// Keys go to columns, values to rows.
template <class T>
__global__ void write_kernel(int64_t count, int heads, int width, const int64_t* page,
                             const int64_t* offset, const T* k, int64_t k_stride, const T* v,
                             int64_t v_stride, T* keys, int64_t keys_page, int64_t keys_head,
                             T* values, int64_t values_page, int64_t values_head) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= count) return;
  const int64_t in_row = i % (int64_t{heads} * width), row = i / (int64_t{heads} * width);
  const int64_t head = in_row / width, c = in_row % width, at = offset[row];
  keys[page[row] * keys_page + head * keys_head + c * kPage + at] = k[row * k_stride + in_row];
  values[page[row] * values_page + head * values_head + at * width + c] =
      v[row * v_stride + in_row];
}

/// Calls fn with the number of heads that a block takes, as a constant.
template <class Fn>
int for_group(int64_t group, const Fn& fn) {
  if (group == 1) return fn(std::integral_constant<int, 1>());
  if (group <= 4) return fn(std::integral_constant<int, 4>());
  return fn(std::integral_constant<int, 8>());
}

template <class T>
Paged<T> paged_of(const PageRows& pages, const PageQueries& queries, const void* q) {
  using W = Wide<T>;
  const W cap = static_cast<W>(queries.softcap);
  const bool windowed = queries.window > 0 && queries.window < INT_MAX;
  return {static_cast<const T*>(q),
          static_cast<const T*>(pages.keys),
          static_cast<const T*>(pages.values),
          pages.keys_page,
          pages.keys_head,
          pages.values_page,
          pages.values_head,
          queries.table,
          queries.lengths,
          queries.rows,
          queries.columns,
          static_cast<int>(queries.heads),
          static_cast<int>(pages.kv_heads),
          static_cast<int>(pages.width),
          windowed ? static_cast<int>(queries.window) : INT_MAX,
          blocks_of_row(queries.columns),
          {static_cast<W>(queries.scale), cap, cap == W(0) ? W(1) : cap}};
}

bool valid(const PageRows& pages) {
  const int64_t bytes = pages.type == Type::f64 ? 8 : pages.type == Type::f32 ? 4 : 2;
  return pages.kv_heads > 0 && pages.width >= 1 && pages.width <= 256 &&
         reinterpret_cast<uintptr_t>(pages.keys) % 16 == 0 && pages.keys_page * bytes % 16 == 0 &&
         pages.keys_head * bytes % 16 == 0;
}

}  // namespace

int64_t paged_attention_partials(const PageRows& pages, const PageQueries& queries) {
  const int64_t blocks = blocks_of_row(queries.columns);
  return blocks == 1 ? 0 : queries.rows * queries.heads * blocks * (pages.width + 2);
}

int paged_attention(const PageRows& pages, const PageQueries& queries, const void* q,
                    void* partials, void* out, void* stream) {
  const bool fits = valid(pages) && queries.heads > 0 && queries.heads < 65536 &&
                    queries.heads % pages.kv_heads == 0 && queries.columns >= 1 &&
                    queries.columns <= INT_MAX / kPage - 1 && queries.window >= 0 &&
                    queries.rows < INT_MAX / kMostBlocks;
  if (!fits) return cudaErrorInvalidValue;
  if (queries.rows == 0) return cudaSuccess;
  const int64_t group = queries.heads / pages.kv_heads;
  return for_type(pages.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using W = Wide<T>;
    const Paged<T> a = paged_of<T>(pages, queries, q);
    auto* part_out = static_cast<W*>(partials);
    W* part_sums = part_out + queries.rows * queries.heads * a.most * pages.width;
    const int error = for_width(pages.width, [&](auto columns) {
      return for_group(group, [&](auto heads) {
        constexpr int D = decltype(columns)::value, G = decltype(heads)::value;
        const Grid grid{dim3(static_cast<unsigned>(queries.rows * a.most),
                             static_cast<unsigned>(pages.kv_heads * ((group - 1) / G + 1))),
                        kPagedThreads, sizeof(PagedShared<W, D, G>)};
        return launch(part_kernel<T, D, G>, grid, stream, a, static_cast<T*>(out), part_out,
                      part_sums);
      });
    });
    if (error != 0 || a.most == 1) return error;
    return launch(merge_kernel<T>, {dim3(blocks_for(queries.rows * queries.heads, 8)), 256}, stream,
                  a, static_cast<const W*>(part_out), static_cast<const W*>(part_sums),
                  static_cast<T*>(out));
  });
}

int write_pages(const PageRows& pages, int64_t rows, const int64_t* page, const int64_t* offset,
                const void* k, int64_t k_stride, const void* v, int64_t v_stride, void* stream) {
  if (!valid(pages)) return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  return for_type(pages.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t count = rows * pages.kv_heads * pages.width;
    return launch(write_kernel<T>, {dim3(blocks_for(count, 256)), 256}, stream, count,
                  static_cast<int>(pages.kv_heads), static_cast<int>(pages.width), page, offset,
                  static_cast<const T*>(k), k_stride, static_cast<const T*>(v), v_stride,
                  static_cast<T*>(pages.keys), pages.keys_page, pages.keys_head,
                  static_cast<T*>(pages.values), pages.values_page, pages.values_head);
  });
}

}  // namespace luce::cuda
