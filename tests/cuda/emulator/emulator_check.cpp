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

}  // namespace

void check_emulator(Report& report) {
  report.begin("emulator");
  report.that(right(Wait::block, 32, false), "a barrier of the block did not hold");
  report.that(!right(Wait::none, 32, false), "a missing barrier of the block went unnoticed");
  report.that(!right(Wait::warp, 32, false), "a barrier of the warp served for one of the block");
  report.that(!right(Wait::none, 1, false), "a missing barrier of the warp went unnoticed");
  report.that(right(Wait::cluster, 1, true), "a barrier of the cluster did not hold");
  report.that(!right(Wait::block, 1, true), "a missing barrier of the cluster went unnoticed");
}

}  // namespace check
}  // namespace luce::cuda
