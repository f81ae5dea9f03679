// Statistics and gradient of softmax rows in one read and one write of memory, for gradients that
// are known in advance.
//
// The blocks of a cluster share a row: each holds its part in shared memory, and the sums of all
// parts are merged through it. Where a row does not fit, or the device has no clusters and the row
// is too long for one block, one block reads it twice.
#include <cooperative_groups.h>

#include "rows.cuh"

namespace luce::cuda {
namespace {

/// Shared memory in front of the held logits: 33 states.
inline constexpr int kStateBytes = 2048;
static_assert(33 * sizeof(RowState<double>) <= kStateBytes);

/// The states of all blocks that share a row, merged; the same bits in every thread. `states` holds
/// the block's own. Leave the cluster before the block ends.
template <class S>
__device__ __forceinline__ RowState<S> cluster_merged(RowState<S>* own, int parts) {
#if __CUDA_ARCH__ >= 900
  if (parts > 1) {
    const auto cluster = cooperative_groups::this_cluster();
    cluster.sync();
    RowState<S> all = *cluster.map_shared_rank(own, 0);
    for (int part = 1; part < parts; ++part) all = merged(all, *cluster.map_shared_rank(own, part));
    return all;
  }
#endif
  (void)parts;
  __syncthreads();
  return *own;
}

/// No block's shared memory may go while others read it.
__device__ __forceinline__ void leave_cluster(int parts) {
#if __CUDA_ARCH__ >= 900
  if (parts > 1) cooperative_groups::this_cluster().sync();
#endif
  (void)parts;
}

/// z → dL/dx for one row.
template <class S>
struct RowGradient {
  kernels::RowSlopes<S> slopes;
  kernels::LogitMap<S> map;
  S max, log_exp, target_gradient;
  int target;

  template <int N>
  __device__ __forceinline__ void apply(int place, S (&z)[N]) const {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      S dz = kernels::logit_gradient(slopes, (z[j] - max) - log_exp);
      if (place + j == target) dz += target_gradient;
      z[j] = dz * map.slope(z[j]);
    }
  }
};

template <class S, class Out, bool kHeld>
__global__ void __launch_bounds__(kRowThreads, 2)
    statistics_gradient_kernel(Rows<S> rows, const int64_t* targets, Gradients<S> upstream,
                               Statistics<S> statistics, Out* out, int64_t out_stride, int parts) {
  constexpr int N = kPack<S>;
  RowState<S>* states = shared_memory<RowState<S>>();
  S* held = shared_memory<S>() + kStateBytes / sizeof(S);
  const int64_t index = blockIdx.x / static_cast<unsigned>(parts);
  const int part = static_cast<int>(blockIdx.x % static_cast<unsigned>(parts));
  const int thread = static_cast<int>(threadIdx.x);
  const S* row = rows.row(index);
  Out* out_row = out + index * out_stride;
  const RowCut<S> cut(row, rows.size);
  const int share = (cut.packs + parts - 1) / parts;
  const int first = min(part * share, cut.packs), last = min(first + share, cut.packs);
  const bool has_edge = part == 0 && thread < cut.edges;

  const int64_t target = targets == nullptr ? -1 : targets[index];
  const bool in_range = target >= 0 && target < rows.size;
  const S target_z = in_range ? rows.z(row[target]) : S(NAN);

  RowState<S> state = empty_row<S>();
  S edge[1] = {S(0)};
  if (has_edge) {
    edge[0] = rows.z(row[cut.edge(thread)]);
    add(state, cut.edge(thread), edge);
  }
  walk_packs(row, cut, first, last, [&](int i, S(&z)[N]) {
#pragma unroll
    for (int j = 0; j < N; ++j) z[j] = rows.z(z[j]);
    if constexpr (kHeld) store_aligned<N>(held + (i - first) * N, z);
    add(state, cut.pack(i), z);
  });
  state = block_merged(state, states);
  if (thread == 0) states[32] = state;
  // From here on all parts of the row have been read, so that it may be overwritten.
  state = cluster_merged(states + 32, parts);

  const kernels::RowSums<S>& sums = state.sums;
  const S g = Gradients<S>::at(upstream.log_prob, index);
  const RowGradient<S> gradient{
      kernels::row_slopes(g, Gradients<S>::at(upstream.entropy, index),
                          upstream.entropy == nullptr ? S(0) : kernels::entropy(sums),
                          Gradients<S>::at(upstream.log_sum_p2, index),
                          upstream.log_sum_p2 == nullptr ? S(0) : kernels::log_sum_p2(sums),
                          Gradients<S>::at(upstream.mean_logit, index) / static_cast<S>(rows.size)),
      rows.map,
      sums.max,
      kernels::log_of(sums.exp),
      g,
      in_range ? static_cast<int>(target) : -1};
  const auto finish = [&](int i, S(&z)[N]) {
    gradient.apply(cut.pack(i), z);
    store<N>(out_row + cut.pack(i), N, z);
  };
  if (has_edge) {
    gradient.apply(cut.edge(thread), edge);
    out_row[cut.edge(thread)] = narrow<Out>(edge[0]);
  }
  if constexpr (kHeld) {
    for (int i = first + thread; i < last; i += static_cast<int>(blockDim.x)) {
      S z[N];
      load_aligned<N>(held + (i - first) * N, z);  // what this thread stored
      finish(i, z);
    }
  } else {
    walk_packs(row, cut, first, last, [&](int i, S(&z)[N]) {
#pragma unroll
      for (int j = 0; j < N; ++j) z[j] = rows.z(z[j]);
      finish(i, z);
    });
  }
  if (part == 0 && thread == 0) statistics.write(index, state, rows.size, target, target_z);
  leave_cluster(parts);
}

/// Shared memory of a block that holds one of `parts` parts of a row.
int64_t held_bytes(const LogitRows& logits, int parts) {
  const int64_t packs = logits.vocabulary / (logits.type == Type::f64 ? 2 : 4);
  return kStateBytes + (packs + parts - 1) / parts * 16;
}

int attribute(cudaDeviceAttr name) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, name, device) == cudaSuccess ? value : 0;
}

}  // namespace

int head_row_parts(const LogitRows& logits) {
  const int most = attribute(cudaDevAttrClusterLaunch) > 0 ? 8 : 1;
  // Two blocks on a multiprocessor, so that one loads while the other computes. Each takes 1 KB
  // more.
  const int64_t half = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / 2 - 1024;
  for (int parts = 1; parts <= most; parts *= 2)
    if (held_bytes(logits, parts) <= half) return parts;
  const bool fits = held_bytes(logits, most) <= attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return fits ? most : 0;
}

int head_statistics_gradient(const LogitRows& logits, const int64_t* targets,
                             const RowGradients& upstream, const RowStatistics& statistics,
                             const GradientRows& out, int parts, void* stream) {
  const bool needs_target = upstream.log_prob != nullptr || statistics.log_prob != nullptr ||
                            statistics.greedy_match != nullptr;
  if (!valid(logits) || (needs_target && targets == nullptr) ||
      !(parts == 0 || parts == 1 || parts == 2 || parts == 4 || parts == 8))
    return cudaErrorInvalidValue;
  if (logits.rows == 0) return cudaSuccess;
  const int cluster = parts == 0 ? 1 : parts;
  const Grid grid{
      dim3(static_cast<unsigned>(logits.rows * cluster)), row_threads(logits.vocabulary / cluster),
      parts == 0 ? kStateBytes : static_cast<size_t>(held_bytes(logits, parts)), cluster};
  return for_wide_type(logits.type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return for_output<S>(logits, out, [&](auto* data, int64_t stride) {
      using Out = std::remove_pointer_t<decltype(data)>;
      const auto kernel = parts == 0 ? statistics_gradient_kernel<S, Out, false>
                                     : statistics_gradient_kernel<S, Out, true>;
      return launch(kernel, grid, stream, rows_of<S>(logits), targets, gradients_of<S>(upstream),
                    statistics_of<S>(statistics), data, stride, cluster);
    });
  });
}

}  // namespace luce::cuda
