// Kernels that promise the bits of others, in every instruction set that this processor has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "ops/tile_gemm.h"

namespace luce {
namespace {

using kernels::Table;

std::vector<const Table*> tables() {
  std::vector<const Table*> out{&kernels::portable::table()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    out.push_back(&kernels::avx2::table());
  if (__builtin_cpu_supports("avx512vl")) out.push_back(&kernels::avx512::table());
#endif
  return out;
}

std::vector<float> normals(size_t count, std::mt19937& engine) {
  std::normal_distribution<float> normal;
  std::vector<float> out(count);
  for (float& x : out) x = normal(engine);
  return out;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// Rows of any number of columns, some past the end of the last vector, and what follows them.
TEST(KernelTable, MultipliesARowAsABlock) {
  std::mt19937 engine{3};
  for (const Table* table : tables())
    for (const int64_t n : {1, 5, 16, 23, 48, 64, 65, 130})
      for (const int64_t k : {1, 7, 48})
        for (const bool add : {false, true}) {
          const int64_t ldb = n + 3;
          const auto a = normals(static_cast<size_t>(k), engine);
          std::vector<uint16_t> half(static_cast<size_t>(k * ldb));
          table->narrow(k * ldb, normals(half.size(), engine).data(), half.data());
          std::vector<float> b(half.size());
          table->widen(k * ldb, half.data(), b.data());
          const auto before = normals(static_cast<size_t>(n + 2), engine);
          auto want = before, got = before, from_half = before;
          table->gemm(1, n, k, a.data(), k, b.data(), ldb, want.data(), n, add);
          table->row_gemm(n, k, a.data(), b.data(), ldb, got.data(), add);
          table->row_gemm_bf16(n, k, a.data(), half.data(), ldb, from_half.data(), add);
          EXPECT_TRUE(same_bits(got, want)) << table->name << " " << n << " " << k << " " << add;
          EXPECT_TRUE(same_bits(from_half, want)) << table->name << " " << n << " " << k;
        }
}

TEST(TileRows, HaveTheBitsOfTileGemm) {
  std::mt19937 engine{4};
  constexpr int64_t kRows = 3, kWidth = 48;
  for (const int64_t n : {16, 23, 64}) {
    const auto a = normals(kRows * kWidth, engine);
    std::vector<c10::BFloat16> half;
    for (const float x : normals(static_cast<size_t>(kWidth * n), engine)) half.emplace_back(x);
    const std::vector<float> b(half.begin(), half.end());
    std::vector<float> want(static_cast<size_t>(kRows * n), 0.5F), got = want, from_half = want;
    tile_gemm(kRows, n, kWidth, a.data(), kWidth, b.data(), n, want.data(), n, true);
    tile_rows(kRows, n, kWidth, a.data(), kWidth, b.data(), n, got.data(), n, true);
    tile_rows(kRows, n, kWidth, a.data(), kWidth, half.data(), n, from_half.data(), n, true);
    EXPECT_TRUE(same_bits(got, want)) << n;
    EXPECT_TRUE(same_bits(from_half, want)) << n;
  }
}

TEST(KernelTable, SumsExponentialsAloneAsAmongAllSums) {
  constexpr int64_t kEntries = 37, kTargets = 48;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  std::mt19937 engine{5};
  for (const Table* table : tables())
    for (const float scale : {1.0F, 0.7F}) {
      const kernels::LogitMap<float> map{.scale = scale, .cap = 0, .after = 1};
      std::vector<float> sums(5 * kTargets), max(kTargets, kNone), exp(kTargets);
      std::fill_n(sums.begin(), kTargets, kNone);
      std::vector<int32_t> best(kTargets), best_alone(kTargets);
      const auto at = [&](int64_t i) { return sums.data() + i * kTargets; };
      for (const int64_t first : {0, 37}) {  // two tiles, one after the other
        auto z = normals(kEntries * kTargets, engine);
        for (int64_t v = 0; v < kEntries; v += 5) z[static_cast<size_t>(v * kTargets)] = kNone;
        for (int64_t v = 0; v < kEntries; ++v) z[static_cast<size_t>(v * kTargets + 7)] = kNone;
        auto alone = z;
        table->head_sums(z.data(), kEntries, kTargets, kTargets, first, map,
                         {at(0), at(1), at(2), at(3), at(4)}, best.data());
        table->head_log_sums(alone.data(), kEntries, kTargets, kTargets, first, map, max.data(),
                             exp.data(), best_alone.data());
        EXPECT_TRUE(same_bits(alone, z)) << table->name;
        EXPECT_TRUE(same_bits(max, {at(0), at(1)})) << table->name << " " << first;
        EXPECT_TRUE(same_bits(exp, {at(1), at(2)})) << table->name << " " << first;
        EXPECT_EQ(best_alone, best) << table->name;
      }
    }
}

}  // namespace
}  // namespace luce
