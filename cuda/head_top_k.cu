// The k likeliest tokens of each row, in one read.
//
// A block keeps the elements that beat the k-th best so far in shared memory, and sorts them when
// they get too many. In logits without order few are kept after the first tiles.
#include "rows.cuh"

namespace luce::cuda {
namespace {

inline constexpr int kThreads = 256, kEach = 4, kTile = kThreads * kEach, kMost = 64;
inline constexpr int kRoom = 2 * kTile;

template <class S>
struct Entry {
  S z;
  int id;
};

/// A total order: no two entries have the same id.
template <class S>
__device__ __forceinline__ bool better(const Entry<S>& a, const Entry<S>& b) {
  return a.z > b.z || (a.z == b.z && a.id < b.id);
}

/// Sorts `count` ≤ kRoom entries, best first: a bitonic network over the next power of two.
template <class S>
__device__ void sort(Entry<S>* entries, int count) {
  int size = 1;
  while (size < count) size *= 2;
  for (int i = count + static_cast<int>(threadIdx.x); i < size; i += kThreads)
    entries[i] = {-S(HUGE_VAL), INT_MAX};
  __syncthreads();
  for (int run = 2; run <= size; run *= 2)
    for (int gap = run / 2; gap > 0; gap /= 2) {
      for (int i = static_cast<int>(threadIdx.x); i < size / 2; i += kThreads) {
        const int low = (i / gap) * 2 * gap + i % gap, high = low + gap;
        const Entry<S> a = entries[low], b = entries[high];
        const bool best_first = (low & run) == 0;
        if (better(b, a) == best_first) {
          entries[low] = b;
          entries[high] = a;
        }
      }
      __syncthreads();
    }
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    top_k_kernel(Rows<S> rows, const S* lse, int k, int64_t* ids, S* log_probs) {
  __shared__ Entry<S> kept[kRoom];
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  const S* row = rows.row(blockIdx.x);
  Entry<S> threshold{-S(HUGE_VAL), INT_MAX};
  int place = static_cast<int>(threadIdx.x) * kEach;
  S next[kEach];
  load<kEach>(row + place, rows.size - place, next);
  for (int tile = 0; tile < rows.size; tile += kTile, place += kTile) {
    S z[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) z[j] = next[j];
    const int ahead = place + kTile;
    load<kEach>(row + ahead, rows.size - ahead, next);
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const S value = rows.z(z[j]);
      // A NaN counts as +∞, so that ids are always those of tokens.
      const Entry<S> entry{value == value ? value : S(HUGE_VAL), place + j};
      if (entry.id < rows.size && better(entry, threshold)) kept[atomicAdd(&count, 1)] = entry;
    }
    __syncthreads();
    const int n = count;
    __syncthreads();  // all have read it
    if (n <= kRoom - kTile) continue;
    sort(kept, n);
    threshold = kept[k - 1];
    if (threadIdx.x == 0) count = k;
    __syncthreads();
  }
  sort(kept, count);
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
    ids[blockIdx.x * int64_t{k} + i] = kept[i].id;
    log_probs[blockIdx.x * int64_t{k} + i] = kept[i].z - lse[blockIdx.x];
  }
}

}  // namespace

int head_top_k(const LogitRows& logits, const void* lse, int64_t k, int64_t* ids, void* log_probs,
               void* stream) {
  if (!valid(logits) || k < 1 || k > kMost || k > logits.vocabulary) return cudaErrorInvalidValue;
  if (logits.rows == 0) return cudaSuccess;
  return for_wide_type(logits.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return launch(top_k_kernel<S>, {dim3(static_cast<unsigned>(logits.rows)), kThreads}, stream,
                  rows_of<S>(logits), static_cast<const S*>(lse), static_cast<int>(k), ids,
                  static_cast<S*>(log_probs));
  });
}

}  // namespace luce::cuda
