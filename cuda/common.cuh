// What the kernels share: element types, accesses of up to 16 bytes, sums over warps and blocks,
// launches.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels.h"
#include "kernels/formulas.h"

namespace luce::cuda {

using bf16 = __nv_bfloat16;

/// What numbers of type T are computed in.
template <class T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

__device__ __forceinline__ float wide(float x) { return x; }
__device__ __forceinline__ double wide(double x) { return x; }
__device__ __forceinline__ float wide(bf16 x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T narrow(Wide<T> x) {
  if constexpr (std::is_same_v<T, bf16>)
    return __float2bfloat16_rn(x);
  else
    return x;
}

/// The larger number; of a number and a NaN the number, in one instruction.
__device__ __forceinline__ float larger(float a, float b) { return ::fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return ::fmax(a, b); }

// --- Memory --------------------------------------------------------------------------------------

/// Elements of one 16-byte access.
template <class T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <int kBytes>
struct WordOf {
  static_assert(kBytes == 2 || kBytes == 4 || kBytes == 8 || kBytes % 16 == 0);
  using type = std::conditional_t<
      kBytes % 16 == 0, uint4,
      std::conditional_t<kBytes == 8, uint2, std::conditional_t<kBytes == 4, uint32_t, uint16_t>>>;
};
/// The widest access that divides N neighbours of type T.
template <int N, class T>
using Word = typename WordOf<N* static_cast<int>(sizeof(T))>::type;

template <int N, class T>
__device__ __forceinline__ bool aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Word<N, T>) == 0;
}

/// N neighbours from an aligned address.
template <int N, class T>
__device__ __forceinline__ void load_aligned(const T* p, Wide<T> (&x)[N]) {
  using W = Word<N, T>;
  constexpr int kWords = N * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(W));
  W words[kWords];
#pragma unroll
  for (int i = 0; i < kWords; ++i) words[i] = reinterpret_cast<const W*>(p)[i];
  T narrow_x[N];
  memcpy(narrow_x, words, sizeof(words));
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = wide(narrow_x[i]);
}

template <int N, class T>
__device__ __forceinline__ void store_aligned(T* p, const Wide<T> (&x)[N]) {
  using W = Word<N, T>;
  constexpr int kWords = N * static_cast<int>(sizeof(T)) / static_cast<int>(sizeof(W));
  T narrow_x[N];
#pragma unroll
  for (int i = 0; i < N; ++i) narrow_x[i] = narrow<T>(x[i]);
  W words[kWords];
  memcpy(words, narrow_x, sizeof(words));
#pragma unroll
  for (int i = 0; i < kWords; ++i) reinterpret_cast<W*>(p)[i] = words[i];
}

/// The first `count` of N neighbours, wherever they lie; the rest is 0.
template <int N, class T>
__device__ __forceinline__ void load(const T* p, int64_t count, Wide<T> (&x)[N]) {
  if (count >= N && aligned<N>(p)) return load_aligned<N>(p, x);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = i < count ? wide(p[i]) : Wide<T>(0);
}

template <int N, class T>
__device__ __forceinline__ void store(T* p, int64_t count, const Wide<T> (&x)[N]) {
  if (count >= N && aligned<N>(p)) return store_aligned<N>(p, x);
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i < count) p[i] = narrow<T>(x[i]);
}

/// The block's dynamic shared memory.
template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ uint4 shared_words[];
  return reinterpret_cast<T*>(shared_words);
}

// --- Sums ----------------------------------------------------------------------------------------

inline constexpr unsigned kAllLanes = 0xffffffffU;

/// Over groups of kLanes neighbouring lanes; the same bits in each of them.
template <int kLanes = 32, class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}
template <int kLanes = 32, class T>
__device__ __forceinline__ T warp_max(T x) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    x = larger(x, __shfl_xor_sync(kAllLanes, x, offset));
  return x;
}

/// Over a block of whole warps; the same bits in every thread. All threads must call it.
template <class T, int N>
__device__ __forceinline__ void block_sum(T (&x)[N]) {
  __shared__ T slots[N][32];
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = warp_sum(x[i]);
  __syncthreads();  // of an earlier call, all have read the slots
  if (threadIdx.x % 32 == 0)
    for (int i = 0; i < N; ++i) slots[i][warp] = x[i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    x[i] = slots[i][0];
    for (int w = 1; w < warps; ++w) x[i] += slots[i][w];
  }
}

// --- Launches ------------------------------------------------------------------------------------

struct Grid {
  dim3 blocks;
  int threads = 0;
  size_t shared = 0;  // bytes of dynamic shared memory
  int cluster = 1;    // blocks per cluster
};

template <class... Parameters, class... Arguments>
int launch(void (*kernel)(Parameters...), const Grid& grid, void* stream, Arguments... arguments) {
  if (grid.shared > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.shared));
    if (error != cudaSuccess) return cudaGetLastError();
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = grid.shared;
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(grid.cluster);
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  if (grid.cluster > 1) {
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

template <class T>
struct Tag {
  using type = T;
};

/// Calls fn with the Tag of a type.
template <class Fn>
int for_type(Type type, const Fn& fn) {
  switch (type) {
    case Type::f32:
      return fn(Tag<float>());
    case Type::f64:
      return fn(Tag<double>());
    case Type::bf16:
      return fn(Tag<bf16>());
  }
  return cudaErrorInvalidValue;
}
/// For statistics and optimizer states, which are never bf16.
template <class Fn>
int for_wide_type(Type type, const Fn& fn) {
  if (type == Type::bf16) return cudaErrorInvalidValue;
  return type == Type::f64 ? fn(Tag<double>()) : fn(Tag<float>());
}

/// Threads of a block that goes through a row in packs.
template <class T>
int threads_for(int64_t columns) {
  const int64_t warps = (columns + 32 * kPack<T> - 1) / (32 * kPack<T>);
  return static_cast<int>(warps < 1 ? 1 : warps > 16 ? 16 : warps) * 32;
}
inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace luce::cuda
