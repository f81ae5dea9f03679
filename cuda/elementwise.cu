// Rotary positions (Su et al., arXiv:2104.09864) and the gated activation (Shazeer,
// arXiv:2002.05202). One block per row.
#include "common.cuh"

namespace luce::cuda {
namespace {

template <class T>
struct Rotary {
  const T* in;
  T* out;
  int heads;
  int64_t in_stride, out_stride;
};

template <class T>
__global__ void __launch_bounds__(512)
    rotate_kernel(int half, Rotary<T> q, Rotary<T> k, const Wide<T>* cos, const Wide<T>* sin,
                  bool inverse) {
  using W = Wide<T>;
  constexpr int N = kPack<T>;
  const int64_t row = blockIdx.x;
  const int chunks = (half + N - 1) / N;
  for (int i = static_cast<int>(threadIdx.x); i < (q.heads + k.heads) * chunks;
       i += static_cast<int>(blockDim.x)) {
    const int head = i / chunks, c = i % chunks * N;
    const bool of_q = head < q.heads;
    const Rotary<T>& rows = of_q ? q : k;
    const int at = (of_q ? head : head - q.heads) * 2 * half + c;
    const T* in = rows.in + row * rows.in_stride + at;
    T* out = rows.out + row * rows.out_stride + at;
    W a[N], b[N], cosine[N], sine[N];
    load<N>(in, half - c, a);
    load<N>(in + half, half - c, b);
    load<N>(cos + row * half + c, half - c, cosine);
    load<N>(sin + row * half + c, half - c, sine);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const auto pair = kernels::turned(a[j], b[j], cosine[j], inverse ? -sine[j] : sine[j]);
      a[j] = pair.first;
      b[j] = pair.second;
    }
    store<N>(out, half - c, a);
    store<N>(out + half, half - c, b);
  }
}

template <class T>
__global__ void __launch_bounds__(512)
    swiglu_kernel(int columns, const T* gate, const T* up, int64_t stride, T* y) {
  constexpr int N = kPack<T>;
  const int64_t from = blockIdx.x * stride, to = blockIdx.x * int64_t{columns};
  for (int c = static_cast<int>(threadIdx.x) * N; c < columns;
       c += static_cast<int>(blockDim.x) * N) {
    Wide<T> g[N], u[N];
    load<N>(gate + from + c, columns - c, g);
    load<N>(up + from + c, columns - c, u);
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = kernels::swiglu(g[j], u[j]);
    store<N>(y + to + c, columns - c, g);
  }
}

template <class T>
__global__ void __launch_bounds__(512)
    swiglu_backward_kernel(int columns, const T* gate, const T* up, int64_t stride, const T* dy,
                           T* d_gate, T* d_up, int64_t d_stride) {
  constexpr int N = kPack<T>;
  const int64_t from = blockIdx.x * stride, at = blockIdx.x * int64_t{columns};
  const int64_t to = blockIdx.x * d_stride;
  for (int c = static_cast<int>(threadIdx.x) * N; c < columns;
       c += static_cast<int>(blockDim.x) * N) {
    Wide<T> g[N], u[N], dys[N];
    load<N>(gate + from + c, columns - c, g);
    load<N>(up + from + c, columns - c, u);
    load<N>(dy + at + c, columns - c, dys);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const auto d = kernels::swiglu_gradient(g[j], u[j], dys[j]);
      g[j] = d.gate;
      u[j] = d.up;
    }
    store<N>(d_gate + to + c, columns - c, g);
    store<N>(d_up + to + c, columns - c, u);
  }
}

template <class T>
Rotary<T> rotary_of(const RotaryRows& rows) {
  return {static_cast<const T*>(rows.in), static_cast<T*>(rows.out), static_cast<int>(rows.heads),
          rows.in_stride, rows.out_stride};
}

}  // namespace

int rotate(Type type, int64_t rows, int64_t width, const RotaryRows& q, const RotaryRows& k,
           const void* cos, const void* sin, bool inverse, void* stream) {
  if (width % 2 != 0) return cudaErrorInvalidValue;
  if (rows == 0 || width == 0 || q.heads + k.heads == 0) return cudaSuccess;
  return for_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using W = Wide<T>;
    const int64_t pairs = (q.heads + k.heads) * width / 2;
    return launch(rotate_kernel<T>, {dim3(static_cast<unsigned>(rows)), threads_for<T>(pairs)},
                  stream, static_cast<int>(width / 2), rotary_of<T>(q), rotary_of<T>(k),
                  static_cast<const W*>(cos), static_cast<const W*>(sin), inverse);
  });
}

int swiglu(Type type, int64_t rows, int64_t columns, const void* gate, const void* up,
           int64_t stride, void* y, void* stream) {
  if (stride < columns) return cudaErrorInvalidValue;
  if (rows == 0 || columns == 0) return cudaSuccess;
  return for_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch(swiglu_kernel<T>, {dim3(static_cast<unsigned>(rows)), threads_for<T>(columns)},
                  stream, static_cast<int>(columns), static_cast<const T*>(gate),
                  static_cast<const T*>(up), stride, static_cast<T*>(y));
  });
}

int swiglu_backward(Type type, int64_t rows, int64_t columns, const void* gate, const void* up,
                    int64_t stride, const void* dy, void* d_gate, void* d_up, int64_t d_stride,
                    void* stream) {
  if (stride < columns || d_stride < columns) return cudaErrorInvalidValue;
  if (rows == 0 || columns == 0) return cudaSuccess;
  return for_type(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch(swiglu_backward_kernel<T>,
                  {dim3(static_cast<unsigned>(rows)), threads_for<T>(columns)}, stream,
                  static_cast<int>(columns), static_cast<const T*>(gate), static_cast<const T*>(up),
                  stride, static_cast<const T*>(dy), static_cast<T*>(d_gate), static_cast<T*>(d_up),
                  d_stride);
  });
}

}  // namespace luce::cuda
