// The kernels of one instruction set, as the table of that set takes them.
#pragma once

#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace luce::kernels::LUCE_ISA {

void gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
          float* c, int64_t ldc, bool add);
void row_gemm(int64_t n, int64_t k, const float* a, const float* b, int64_t ldb, float* c,
              bool add);
void row_gemm_bf16(int64_t n, int64_t k, const float* a, const uint16_t* b, int64_t ldb, float* c,
                   bool add);

void head_log_sums(float* z, int64_t n, int64_t width, int64_t ld, int64_t first,
                   const LogitMap<float>& map, float* max, float* exp, int32_t* best);
void head_sums(float* z, int64_t n, int64_t width, int64_t ld, int64_t first,
               const LogitMap<float>& map, SumArrays sums, int32_t* best);
void head_gradient(float* z, int64_t n, int64_t width, int64_t ld, SlopeArrays slopes,
                   const LogitMap<float>& map);
void divergence_sums(const float* p, const float* q, int64_t n, int64_t width, int64_t ld,
                     const float* p_lse, const float* q_lse, DivergenceKind kind, float beta,
                     float* value, float* slope_sum);
void divergence_gradient(float* p, const float* q, int64_t n, int64_t width, int64_t ld,
                         const float* p_lse, const float* q_lse, DivergenceKind kind, float beta,
                         const float* slope_sum, const float* upstream, const LogitMap<float>& map);

void row_maxima(int64_t n, const float* z, float* maxima);
void row_sums(int64_t n, const float* z, float max, float* sums);
int64_t row_above(int64_t n, const float* z, float least, int32_t* ids);

void rms_norm(int64_t rows, int64_t d, const float* x, const float* residual, const float* w,
              float eps, float* sum, float* y, float* rstd);
void rms_norm_backward(int64_t rows, int64_t d, const float* x, const float* w, const float* rstd,
                       const float* dy, const float* dsum, float* dx, float* dw);
void rotate(int64_t rows, int64_t heads, int64_t d, const float* x, const float* cos,
            const float* sin, float sign, float* y);
void swiglu(int64_t n, const float* gate, const float* up, float* y);
void swiglu_backward(int64_t n, const float* gate, const float* up, const float* dy, float* d_gate,
                     float* d_up);

void adamw(int64_t n, const AdamWStep<float>& step, const float* g, float* weight, float* m,
           float* v, uint16_t* work_bf16);
double sum_of_squares(int64_t n, const float* x);

void widen(int64_t n, const uint16_t* x, float* y);
void narrow(int64_t n, const float* x, uint16_t* y);
void narrow_pair(int64_t n, const float* first, const float* second, uint16_t* pairs);
void transpose_words(int64_t rows, int64_t columns, const void* from, int64_t from_stride, void* to,
                     int64_t to_stride);

using Halves [[gnu::vector_size(kBytes / 2)]] = uint16_t;
using Words [[gnu::vector_size(kBytes)]] = uint32_t;

/// The bits of x rounded to the nearest bf16, ties to even; its low half is rubbish.
LUCE_HD Words rounded_bits(Vec x) {
  Words w;
  __builtin_memcpy(&w, &x.v, kBytes);
  const Words even = w + 0x7FFF + ((w >> 16) & 1);
  const Words nan = w | 0x400000;  // stays a NaN when its low bits are cut
  return x.v == x.v ? even : nan;
}

LUCE_HD void store_bf16(Vec x, uint16_t* p, int count) {
  const Halves h = __builtin_convertvector(rounded_bits(x) >> 16, Halves);
  if (count == kLanes)
    __builtin_memcpy(p, &h, kBytes / 2);
  else
    for (int i = 0; i < count; ++i) p[i] = h[i];
}

/// `count` bf16 numbers, zeros behind them.
LUCE_HD Vec load_bf16(const uint16_t* p, int count) {
  Halves h{};
  if (count == kLanes)
    __builtin_memcpy(&h, p, kBytes / 2);
  else
    for (int i = 0; i < count; ++i) h[i] = p[i];
  const Words w = __builtin_convertvector(h, Words) << 16;
  Vec x;
  __builtin_memcpy(&x.v, &w, kBytes);
  return x;
}

/// Calls fn(offset, count) for every vector of n floats; count is below kLanes for the last alone.
template <class Fn>
LUCE_HD void for_lanes(int64_t n, const Fn& fn) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) fn(i, kLanes);
  if (i < n) fn(i, static_cast<int>(n - i));
}

/// Loads `count` floats, zeros behind them: the tail goes through the same arithmetic as the rest.
LUCE_HD Vec load_some(const float* p, int count) {
  if (count == kLanes) return Vec::load(p);
  float buffer[kLanes] = {};
  for (int i = 0; i < count; ++i) buffer[i] = p[i];
  return Vec::load(buffer);
}
LUCE_HD void store_some(Vec x, float* p, int count) {
  if (count == kLanes) return x.store(p);
  float buffer[kLanes];
  x.store(buffer);
  for (int i = 0; i < count; ++i) p[i] = buffer[i];
}

}  // namespace luce::kernels::LUCE_ISA
