// Plain products: of blocks, for processors that LibTorch's micro-kernels do not run on, and of
// single rows, for which those take longer to call than to run.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {
namespace {

template <int N>
struct Count {
  static constexpr int value = N;
};

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

/// `Vectors` vectors of columns of one row, `tail` of the last one's lanes.
template <int Vectors, class Load>
LUCE_HD void row_block(int64_t k, const float* a, int tail, float* c, bool add, const Load& load) {
  Vec sum[Vectors];
  for (auto& s : sum) s = Vec(0.0F);
  for (int64_t i = 0; i < k; ++i)
    for (int v = 0; v < Vectors; ++v)
      sum[v] = sum[v] + load(i, v * kLanes, v + 1 < Vectors ? kLanes : tail) * a[i];
  for (int v = 0; v < Vectors; ++v) {
    const int count = v + 1 < Vectors ? kLanes : tail;
    float* out = c + v * kLanes;
    store_some(add ? load_some(out, count) + sum[v] : sum[v], out, count);
  }
}

/// load(i, j, count) are `count` columns of row i of B from column j on.
template <class Load>
LUCE_HD void row_product(int64_t n, int64_t k, const float* a, float* c, bool add,
                         const Load& load) {
  for (int64_t j = 0; j < n; j += 4 * kLanes) {
    const auto part = [&](auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      const int tail = static_cast<int>(n - j) - (kVectors - 1) * kLanes;
      const auto from = [&](int64_t i, int at, int count) { return load(i, j + at, count); };
      if (tail >= kLanes)  // the usual case: no lane is looked after alone
        row_block<kVectors>(k, a, kLanes, c + j, add, from);
      else
        row_block<kVectors>(k, a, tail, c + j, add, from);
    };
    if (n - j > 3 * kLanes)
      part(Count<4>{});
    else if (n - j > 2 * kLanes)
      part(Count<3>{});
    else if (n - j > kLanes)
      part(Count<2>{});
    else
      part(Count<1>{});
  }
}

}  // namespace

void row_gemm(int64_t n, int64_t k, const float* a, const float* b, int64_t ldb, float* c,
              bool add) {
  row_product(n, k, a, c, add,
              [&](int64_t i, int64_t j, int count) { return load_some(b + i * ldb + j, count); });
}

void row_gemm_bf16(int64_t n, int64_t k, const float* a, const uint16_t* b, int64_t ldb, float* c,
                   bool add) {
  row_product(n, k, a, c, add,
              [&](int64_t i, int64_t j, int count) { return load_bf16(b + i * ldb + j, count); });
}

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
