// The emulator must notice what it is there for: these kernels read what others write to shared
// memory, with the barrier between and without it.
#include <cooperative_groups.h>

#include "../check.h"

namespace luce::cuda {

extern __shared__ uint4 shared_words[];

namespace check {
namespace {

enum class Wait { none, warp, block, cluster };

/// out[i] of a block = number that thread `distance` places on has written, in the next block of
/// the cluster where the wait is one of the cluster.
__global__ void neighbours(float* out, Wait wait, int distance, bool next_block) {
  float* shared = reinterpret_cast<float*>(shared_words);
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  const int rank = static_cast<int>(blockIdx.x), ranks = static_cast<int>(gridDim.x);
  const auto cluster = cooperative_groups::this_cluster();
  shared[thread] = static_cast<float>(rank * threads + thread);
  if (wait == Wait::warp) __syncwarp();
  if (wait == Wait::block) __syncthreads();
  if (wait == Wait::cluster) cluster.sync();
  const float* from = next_block ? cluster.map_shared_rank(shared, (rank + 1) % ranks) : shared;
  out[rank * threads + thread] = from[(thread + distance) % threads];
  if (wait == Wait::cluster) cluster.sync();
}

bool right(Wait wait, int distance, bool next_block) {
  const int threads = 64, blocks = next_block ? 4 : 1;
  Buffer<float> out(threads * blocks);
  cudaLaunchAttribute attribute = {cudaLaunchAttributeClusterDimension, {{4, 1, 1}}};
  cudaLaunchConfig_t config;
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = threads * sizeof(float);
  config.attrs = &attribute;
  config.numAttrs = next_block ? 1 : 0;
  cudaLaunchKernelEx(&config, neighbours, out.device, wait, distance, next_block);
  out.read();
  for (int i = 0; i < threads * blocks; ++i) {
    const int block = (i / threads + (next_block ? 1 : 0)) % blocks;
    if (out[i] != static_cast<float>(block * threads + (i % threads + distance) % threads))
      return false;
  }
  return true;
}

/// What atomics leave of the numbers that threads bring, and what they return put together.
__global__ void gather(unsigned long long* sums, unsigned* ends) {
  unsigned long long* sum = reinterpret_cast<unsigned long long*>(shared_words);
  unsigned* end = reinterpret_cast<unsigned*>(sum + 2);
  if (threadIdx.x == 0) {
    sum[0] = sum[1] = 0;
    end[0] = UINT_MAX;
    end[1] = 0;
  }
  __syncthreads();
  const unsigned long long number = 1ULL << 40 | threadIdx.x;
  const unsigned long long before = atomicAdd(&sum[0], number);
  atomicAdd(&sum[1], before >> 40);  // how many came first
  atomicMin(&end[0], 7 + threadIdx.x);
  atomicMax(&end[1], 7 + threadIdx.x);
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 0; i < 2; ++i) {
    sums[i] = sum[i];
    ends[i] = end[i];
  }
}

bool gathers() {
  constexpr unsigned kThreads = 64;
  Buffer<unsigned long long> sums(2);
  Buffer<unsigned> ends(2);
  cudaLaunchConfig_t config;
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = 64;
  cudaLaunchKernelEx(&config, gather, sums.device, ends.device);
  read(sums, ends);
  const unsigned long long pairs = kThreads * (kThreads - 1) / 2;
  return sums[0] == (static_cast<unsigned long long>(kThreads) << 40) + pairs && sums[1] == pairs &&
         ends[0] == 7 && ends[1] == 7 + kThreads - 1;
}

}  // namespace

void check_emulator(Report& report) {
  report.begin("emulator");
  report.that(right(Wait::block, 32, false), "a barrier of the block did not hold");
  report.that(!right(Wait::none, 32, false), "a missing barrier of the block went unnoticed");
  report.that(!right(Wait::warp, 32, false), "a barrier of the warp served for one of the block");
  report.that(!right(Wait::none, 1, false), "a missing barrier of the warp went unnoticed");
  report.that(gathers(), "atomics lost something");
  report.that(right(Wait::cluster, 1, true), "a barrier of the cluster did not hold");
  report.that(!right(Wait::block, 1, true), "a missing barrier of the cluster went unnoticed");
}

}  // namespace check
}  // namespace luce::cuda
