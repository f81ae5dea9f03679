// Root-mean-square normalisation (Zhang & Sennrich, arXiv:1910.07467), x̂ = x / √(mean x² + eps):
//   y = w ∘ x̂      dx = (dy ∘ w − x̂ mean(dy ∘ w ∘ x̂)) / √(mean x² + eps)      dw = Σ_rows dy ∘ x̂
// Blocks of the backward pass sum dw over rows of their own; a second kernel adds these in order.
#include "common.cuh"

namespace luce::cuda {
namespace {

/// One block per row. The second reading of the row comes from the cache.
template <class T>
__global__ void __launch_bounds__(512)
    forward_kernel(int columns, const T* x, const T* residual, const T* w, Wide<T> eps, T* sum,
                   T* y, Wide<T>* rstd) {
  using W = Wide<T>;
  constexpr int N = kPack<T>;
  const int64_t at = blockIdx.x * int64_t{columns};
  const int start = static_cast<int>(threadIdx.x) * N, step = static_cast<int>(blockDim.x) * N;
  W squares[1] = {W(0)};
  for (int c = start; c < columns; c += step) {
    W values[N];
    load<N>(x + at + c, columns - c, values);
    if (residual != nullptr) {
      W more[N];
      load<N>(residual + at + c, columns - c, more);
#pragma unroll
      for (int j = 0; j < N; ++j) values[j] = wide(narrow<T>(values[j] + more[j]));
      store<N>(sum + at + c, columns - c, values);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) squares[0] += values[j] * values[j];
  }
  block_sum(squares);
  const W scale = W(1) / kernels::sqrt_of(squares[0] / static_cast<W>(columns) + eps);
  const T* from = residual == nullptr ? x : sum;
  for (int c = start; c < columns; c += step) {
    W values[N], weights[N];
    load<N>(from + at + c, columns - c, values);
    load<N>(w + c, columns - c, weights);
#pragma unroll
    for (int j = 0; j < N; ++j) values[j] = wide(narrow<T>(values[j] * scale)) * weights[j];
    store<N>(y + at + c, columns - c, values);
  }
  if (rstd != nullptr && threadIdx.x == 0) rstd[blockIdx.x] = scale;
}

/// Each block takes every gridDim.x-th row. Its part of dw lies in shared memory, where a column
/// always belongs to the same thread.
template <class T>
__global__ void __launch_bounds__(512)
    backward_kernel(int64_t rows, int columns, const T* x, const T* w, const Wide<T>* rstd,
                    const T* dy, const T* d_sum, T* dx, Wide<T>* partials) {
  using W = Wide<T>;
  constexpr int N = kPack<T>;
  W* dw = shared_memory<W>();
  const int start = static_cast<int>(threadIdx.x) * N, step = static_cast<int>(blockDim.x) * N;
  const W zeros[N] = {};
  for (int c = start; partials != nullptr && c < columns; c += step)
    store_aligned<N>(dw + c, zeros);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t at = row * columns;
    const W scale = rstd[row];
    W dot[1] = {W(0)};
    for (int c = start; c < columns; c += step) {
      W values[N], weights[N], g[N];
      load<N>(x + at + c, columns - c, values);
      load<N>(w + c, columns - c, weights);
      load<N>(dy + at + c, columns - c, g);
#pragma unroll
      for (int j = 0; j < N; ++j) dot[0] += g[j] * weights[j] * (values[j] * scale);
    }
    block_sum(dot);
    const W mean = dot[0] / static_cast<W>(columns);
    for (int c = start; c < columns; c += step) {
      W values[N], weights[N], g[N], more[N] = {};
      load<N>(x + at + c, columns - c, values);
      load<N>(w + c, columns - c, weights);
      load<N>(dy + at + c, columns - c, g);
      if (d_sum != nullptr) load<N>(d_sum + at + c, columns - c, more);
      if (partials != nullptr) {
        W sums[N];
        load_aligned<N>(dw + c, sums);
#pragma unroll
        for (int j = 0; j < N; ++j) sums[j] += g[j] * (values[j] * scale);
        store_aligned<N>(dw + c, sums);
      }
#pragma unroll
      for (int j = 0; j < N; ++j)
        values[j] = (g[j] * weights[j] - values[j] * scale * mean) * scale + more[j];
      store<N>(dx + at + c, columns - c, values);
    }
  }
  for (int c = start; partials != nullptr && c < columns; c += step) {
    W sums[N];
    load_aligned<N>(dw + c, sums);
    store<N>(partials + blockIdx.x * int64_t{columns} + c, columns - c, sums);
  }
}

/// Adds `count` rows of partial sums: 32 columns a block, 32 rows at a time.
template <class W>
__global__ void __launch_bounds__(1024)
    columns_kernel(int64_t count, int columns, const W* partials, W* dw, bool add) {
  __shared__ W slots[32][33];
  const int x = static_cast<int>(threadIdx.x) % 32, y = static_cast<int>(threadIdx.x) / 32;
  const int column = static_cast<int>(blockIdx.x) * 32 + x;
  W sum = 0;
#pragma unroll 4
  for (int64_t row = y; row < count; row += 32)
    if (column < columns) sum += partials[row * columns + column];
  slots[x][y] = sum;
  __syncthreads();
  const W total = warp_sum(slots[y][x]);  // of column y of the block
  const int mine = static_cast<int>(blockIdx.x) * 32 + y;
  if (x == 0 && mine < columns) dw[mine] = add ? dw[mine] + total : total;
}

}  // namespace

int rms_norm(Type type, int64_t rows, int64_t columns, const void* x, const void* residual,
             const void* w, double eps, void* sum, void* y, void* rstd, void* stream) {
  if (residual != nullptr && sum == nullptr) return cudaErrorInvalidValue;
  if (rows == 0 || columns == 0) return cudaSuccess;
  return for_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using W = Wide<T>;
    return launch(forward_kernel<T>, {dim3(static_cast<unsigned>(rows)), threads_for<T>(columns)},
                  stream, static_cast<int>(columns), static_cast<const T*>(x),
                  static_cast<const T*>(residual), static_cast<const T*>(w), static_cast<W>(eps),
                  static_cast<T*>(sum), static_cast<T*>(y), static_cast<W*>(rstd));
  });
}

int64_t rms_norm_partials(int64_t rows) {
  const int64_t blocks = (rows + 15) / 16;  // 16 rows make a row of partial sums cheap beside them
  return blocks < 512 ? blocks : 512;
}

int rms_norm_backward(Type type, int64_t rows, int64_t columns, const void* x, const void* w,
                      const void* rstd, const void* dy, const void* d_sum, void* dx, void* partials,
                      void* dw, bool add, void* stream) {
  if ((dw == nullptr) != (partials == nullptr)) return cudaErrorInvalidValue;
  if (columns == 0) return cudaSuccess;
  return for_type(type, [&](auto tag) -> int {
    using T = typename decltype(tag)::type;
    using W = Wide<T>;
    const int64_t count = rms_norm_partials(rows);
    if (rows > 0) {
      const int64_t blocks = dw == nullptr ? rows : count;
      const int64_t held = (columns + kPack<T> - 1) / kPack<T> * kPack<T>;
      const Grid grid{dim3(static_cast<unsigned>(blocks)), threads_for<T>(columns),
                      dw == nullptr ? 0 : sizeof(W) * static_cast<size_t>(held)};
      const int error =
          launch(backward_kernel<T>, grid, stream, rows, static_cast<int>(columns),
                 static_cast<const T*>(x), static_cast<const T*>(w), static_cast<const W*>(rstd),
                 static_cast<const T*>(dy), static_cast<const T*>(d_sum), static_cast<T*>(dx),
                 static_cast<W*>(partials));
      if (error != 0) return error;
    }
    if (dw == nullptr) return cudaSuccess;
    return launch(columns_kernel<W>, {dim3(blocks_for(columns, 32)), 1024}, stream, count,
                  static_cast<int>(columns), static_cast<const W*>(partials), static_cast<W*>(dw),
                  add);
  });
}

}  // namespace luce::cuda
