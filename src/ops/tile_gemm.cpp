#include "ops/tile_gemm.h"

#include <ATen/native/CPUBlas.h>
#include <c10/util/Exception.h>

#include <array>
#include <vector>

#include "kernels/kernels.h"

namespace luce {
namespace {

using at::native::cpublas::brgemm;

/// Whether oneDNN's micro-kernels run on this processor; LibTorch has no way to ask.
template <class T>
bool works() {
  std::array<T, 2> a{T(1.0F), T(2.0F)}, b{T(3.0F), T(4.0F)};
  std::array<float, 1> c{};
  try {
    brgemm(1, 1, 2, 2, 1, 1, false, a.data(), b.data(), c.data(), !std::is_same_v<T, float>);
  } catch (const c10::Error&) {
    return false;
  }
  at::native::cpublas::brgemm_release(!std::is_same_v<T, float>);
  return c[0] == 11.0F;
}

bool has_f32() {
  static const bool yes = works<float>();
  return yes;
}

/// Rows in few sizes: code is generated for each, which takes longer than small products.
template <class Fn>
void by_rows(int64_t m, const Fn& fn) {
  int64_t row = 0;
  for (const int64_t size : {64, 48, 32, 16, 4, 1})
    for (; m - row >= size; row += size) fn(row, size);
}

}  // namespace

void tile_gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
               int64_t ldb, float* c, int64_t ldc, bool add) {
  if (!has_f32()) return kernels::table().gemm(m, n, k, a, lda, b, ldb, c, ldc, add);
  by_rows(m, [&](int64_t row, int64_t rows) {
    brgemm(rows, n, k, lda, ldb, ldc, add, a + row * lda, b, c + row * ldc, false);
  });
}

void tile_gemm(int64_t m, int64_t n, int64_t k, const c10::BFloat16* a, int64_t lda,
               const c10::BFloat16* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  by_rows(m, [&](int64_t row, int64_t rows) {
    brgemm(rows, n, k, lda, ldb, ldc, add, a + row * lda, b, c + row * ldc, true);
  });
}

void tile_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
               int64_t ldb, float* c, int64_t ldc, bool add) {
  const auto& kernels = kernels::table();
  // Without fused additions the bits would be others than a micro-kernel's.
  if (!kernels.fused) return tile_gemm(m, n, k, a, lda, b, ldb, c, ldc, add);
  for (int64_t i = 0; i < m; ++i) kernels.row_gemm(n, k, a + i * lda, b, ldb, c + i * ldc, add);
}

void tile_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const c10::BFloat16* b,
               int64_t ldb, float* c, int64_t ldc, bool add) {
  const auto& kernels = kernels::table();
  const auto* bits = reinterpret_cast<const uint16_t*>(b);
  if (!kernels.fused) {
    std::vector<float> wide(static_cast<size_t>(k * n));
    for (int64_t i = 0; i < k; ++i) kernels.widen(n, bits + i * ldb, wide.data() + i * n);
    return tile_gemm(m, n, k, a, lda, wide.data(), n, c, ldc, add);
  }
  for (int64_t i = 0; i < m; ++i)
    kernels.row_gemm_bf16(n, k, a + i * lda, bits, ldb, c + i * ldc, add);
}

bool tile_gemm_has_bf16() {
  // AMX or AVX512_BF16: elsewhere widened operands are faster.
  static const bool yes = kernels::has_bf16_dot() && works<c10::BFloat16>();
  return yes;
}

void tile_gemm_release() {
  if (has_f32()) at::native::cpublas::brgemm_release(false);
}

}  // namespace luce
