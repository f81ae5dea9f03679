// AdamW (Loshchilov & Hutter, arXiv:1711.05101; formula in formulas.h) and the norm of all
// gradients, each over every parameter in one launch: a block takes one chunk of one parameter.
#include "common.cuh"

namespace luce::cuda {
namespace {

inline constexpr int kThreads = 512;

/// What a block works on.
struct Chunk {
  AdamWTensor tensor;
  int64_t begin;
  int size;
};

/// The last parameter that starts at or before the block's chunk is the one that has it: parameters
/// without elements have no chunk.
__device__ Chunk chunk_of(const AdamWTensor* tensors, int64_t count) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (tensors[middle].first_chunk <= blockIdx.x)
      low = middle;
    else
      high = middle - 1;
  }
  const AdamWTensor tensor = tensors[low];
  const int64_t begin = (blockIdx.x - tensor.first_chunk) * kAdamWChunk;
  return {tensor, begin, static_cast<int>(min(kAdamWChunk, tensor.count - begin))};
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    adamw_kernel(const AdamWTensor* tensors, int64_t count, kernels::AdamWStep<S> step,
                 const S* factor) {
  constexpr int N = kPack<S>;
  const Chunk chunk = chunk_of(tensors, count);
  const AdamWTensor& t = chunk.tensor;
  const S* gradients = static_cast<const S*>(t.gradient) + chunk.begin;
  S* weights = static_cast<S*>(t.weight) + chunk.begin;
  S* firsts = static_cast<S*>(t.m) + chunk.begin;
  S* seconds = static_cast<S*>(t.v) + chunk.begin;
  step.decay *= static_cast<S>(t.decay_factor);
  if (factor != nullptr) step.gradient_scale *= *factor;
  for (int i = static_cast<int>(threadIdx.x) * N; i < chunk.size; i += kThreads * N) {
    const int left = chunk.size - i;
    S g[N], weight[N], m[N], v[N];
    load<N>(gradients + i, left, g);
    load<N>(weights + i, left, weight);
    load<N>(firsts + i, left, m);
    load<N>(seconds + i, left, v);
#pragma unroll
    for (int j = 0; j < N; ++j) kernels::adamw(step, g[j], weight[j], m[j], v[j]);
    store<N>(weights + i, left, weight);
    store<N>(firsts + i, left, m);
    store<N>(seconds + i, left, v);
    if (t.copy != nullptr) {
      float rounded[N];
#pragma unroll
      for (int j = 0; j < N; ++j) rounded[j] = static_cast<float>(weight[j]);
      store<N>(static_cast<bf16*>(t.copy) + chunk.begin + i, left, rounded);
    }
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    squares_kernel(const AdamWTensor* tensors, int64_t count, double* partials) {
  constexpr int N = kPack<S>;
  const Chunk chunk = chunk_of(tensors, count);
  const S* gradients = static_cast<const S*>(chunk.tensor.gradient) + chunk.begin;
  double sum[1] = {0};
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x) * N; i < chunk.size; i += kThreads * N) {
    S g[N];
    load<N>(gradients + i, chunk.size - i, g);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[0] += static_cast<double>(g[j]) * static_cast<double>(g[j]);
  }
  block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum[0];
}

__global__ void __launch_bounds__(1024)
    total_kernel(const double* partials, int64_t count, double* out) {
  double sum[1] = {0};
  for (int64_t i = threadIdx.x; i < count; i += 1024) sum[0] += partials[i];
  block_sum(sum);
  if (threadIdx.x == 0) out[0] = sum[0];
}

}  // namespace

int adamw(Type type, const AdamWTensor* tensors, int64_t count, int64_t chunks,
          const kernels::AdamWStep<double>& step, const void* factor, void* stream) {
  if (chunks == 0) return cudaSuccess;
  return for_wide_type(type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    const kernels::AdamWStep<S> narrow_step{
        static_cast<S>(step.lr),          static_cast<S>(step.beta1),
        static_cast<S>(step.beta2),       static_cast<S>(step.epsilon),
        static_cast<S>(step.decay),       static_cast<S>(step.gradient_scale),
        static_cast<S>(step.correction1), static_cast<S>(step.sqrt_correction2),
        static_cast<S>(step.rest1),       static_cast<S>(step.rest2)};
    return launch(adamw_kernel<S>, {dim3(static_cast<unsigned>(chunks)), kThreads}, stream, tensors,
                  count, narrow_step, static_cast<const S*>(factor));
  });
}

int squared_norm(Type type, const AdamWTensor* tensors, int64_t count, int64_t chunks,
                 double* partials, double* out, void* stream) {
  const int error = chunks == 0 ? 0 : for_wide_type(type, [&](auto tag) {
    using S = typename decltype(tag)::type;
    return launch(squares_kernel<S>, {dim3(static_cast<unsigned>(chunks)), kThreads}, stream,
                  tensors, count, partials);
  });
  if (error != 0) return error;
  return launch(total_kernel, {dim3(1), 1024}, stream, partials, chunks, out);
}

const char* cuda_error_text(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

}  // namespace luce::cuda
