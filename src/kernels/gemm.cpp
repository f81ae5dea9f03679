// A plain blocked product, for processors that LibTorch's micro-kernels do not run on.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {
namespace {

/// `Rows` rows of C, one vector of columns: sums over k in ascending order.
template <int Rows>
LUCE_HD void block(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, int count, bool add) {
  Vec sum[Rows];
  for (auto& s : sum) s = Vec(0.0F);
  for (int64_t i = 0; i < k; ++i) {
    const Vec row = load_some(b + i * ldb, count);
    for (int r = 0; r < Rows; ++r) sum[r] = sum[r] + row * a[r * lda + i];
  }
  for (int r = 0; r < Rows; ++r) {
    float* out = c + r * ldc;
    store_some(add ? load_some(out, count) + sum[r] : sum[r], out, count);
  }
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
          float* c, int64_t ldc, bool add) {
  for_lanes(n, [&](int64_t j, int count) {
    int64_t i = 0;
    for (; i + 8 <= m; i += 8)
      block<8>(k, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc, count, add);
    for (; i < m; ++i) block<1>(k, a + i * lda, lda, b + j, ldb, c + i * ldc + j, ldc, count, add);
  });
}

}  // namespace luce::kernels::LUCE_ISA
