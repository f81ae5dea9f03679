// Runs CUDA kernels on the CPU: the part of the CUDA runtime that cuda/*.cu use, for g++.
//
// Emulated: one fiber per thread, in random order between barriers, so that some warps run far
// ahead of others; __syncthreads, __syncwarp, shuffles of full warps; dynamic shared memory, full
// of NaN when a block begins and again when it ends; clusters, whose blocks read each other's
// shared memory; the limits of a launch. A kernel that waits for what cannot come ends the program
// with a sentence. The order is the same in every run.
//
// Not emulated: races between threads that no barrier separates but that this order happens to
// serve, atomics under contention, streams, misaligned accesses, timing, the GPU's own rounding of
// exp and log. Static shared memory starts as the block before left it.
#pragma once

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>

// A block's threads are fibers of one thread of the system, and the blocks of a cluster are
// several of these.
#define __shared__ thread_local
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __CUDA_ARCH__ 900

struct alignas(8) uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

extern thread_local uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorInvalidConfiguration };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };
enum cudaDeviceAttr {
  cudaDevAttrClusterLaunch,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin
};
using cudaStream_t = void*;

struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    uint3 clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

namespace emulator {

enum class Barrier { warp, block, cluster };

/// Suspends the running thread until all threads of its warp, block or cluster wait there.
void wait(Barrier barrier);
/// Where `p`, shared memory of the running block, lies in another block of its cluster.
void* shared_of(int rank, const void* p);
/// The running thread's warp exchanges `size` ≤ 8 bytes per lane: takes x, gives that of `from`.
void exchange(unsigned mask, void* x, size_t size, int from);
int lane();
/// Checks the limits of a launch and runs it to its end. `kernel` tells kernels apart.
cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel,
                   const std::function<void()>& body);
cudaError_t allow_shared(const void* kernel, int bytes);

}  // namespace emulator

template <class... P>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...),
                               P... arguments) {
  return emulator::launch(*config, reinterpret_cast<const void*>(kernel),
                          [=] { kernel(arguments...); });
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  return emulator::allow_shared(reinterpret_cast<const void*>(kernel), bytes);
}
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);

inline void __syncthreads() { emulator::wait(emulator::Barrier::block); }
inline void __syncwarp() { emulator::wait(emulator::Barrier::warp); }

template <class T>
T __shfl_xor_sync(unsigned mask, T x, int offset) {
  emulator::exchange(mask, &x, sizeof(T), emulator::lane() ^ offset);
  return x;
}
template <class T>
T __shfl_down_sync(unsigned mask, T x, int offset) {
  const int from = emulator::lane() + offset;
  emulator::exchange(mask, &x, sizeof(T), from > 31 ? emulator::lane() : from);
  return x;
}

inline int atomicAdd(int* p, int x) { return std::exchange(*p, *p + x); }
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long x) {
  return std::exchange(*p, *p + x);
}
inline unsigned atomicMin(unsigned* p, unsigned x) { return std::exchange(*p, std::min(*p, x)); }
inline unsigned atomicMax(unsigned* p, unsigned x) { return std::exchange(*p, std::max(*p, x)); }

using std::max;
using std::min;
