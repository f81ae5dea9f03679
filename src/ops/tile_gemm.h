// Products of small tiles on the calling thread: what the blocked CPU ops are built of.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace luce {

/// C = A·B, or C += A·B where `add`: A [m, k], B [k, n], C [m, n], row by row with the given
/// strides.
///
/// Every element is one chain of fused multiply-adds over k in ascending order, starting from 0 and
/// added to C at the end where `add`: its bits do not depend on m, n or its place in the tile. That
/// is what the batch-invariant mode rests on. Any m; call it with n and k of few different values,
/// since code is generated for each.
void tile_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
               int64_t ldb, float* c, int64_t ldc, bool add);

/// The same in bf16 with f32 sums. `b` holds pairs of rows interleaved, [k/2, n, 2], so that k must
/// be even; ldb counts pairs. Only where tile_gemm_has_bf16().
void tile_gemm(int64_t m, int64_t n, int64_t k, const c10::BFloat16* a, int64_t lda,
               const c10::BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool add);

/// A few rows of A, for which calling a micro-kernel takes longer than the product; the same bits
/// as tile_gemm's. `b` may be bf16, as it lies and widened while it is read.
void tile_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
               int64_t ldb, float* c, int64_t ldc, bool add);
void tile_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const c10::BFloat16* b,
               int64_t ldb, float* c, int64_t ldc, bool add);

/// Asks for n elements that are about to be read. Rows of a matrix are too short for the processor
/// to see them coming, and a product of few rows has nothing else to wait for.
template <class T>
void prefetch(const T* from, int64_t n) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(from + i, 0, 2);
}

/// Whether this processor multiplies bf16 tiles.
bool tile_gemm_has_bf16();

/// Frees what a thread holds for generated tile code; call it at the end of a parallel region.
void tile_gemm_release();

}  // namespace luce
