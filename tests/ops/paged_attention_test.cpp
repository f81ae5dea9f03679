#include "luce/ops/paged_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <limits>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Case {
  int64_t heads, kv_heads, width;
  AttentionOptions options;
};

/// Pages [first, …) take the positions of k and v [N, K, d] in order.
void write(const Pages& pages, int64_t first, const Tensor& k, const Tensor& v) {
  const Tensor at = at::arange(k.size(0), at::kLong);
  write_pages(pages, first + at::floor_divide(at, kPagePositions), at.remainder(kPagePositions), k,
              v);
}

/// Keys that were never written are no numbers; values must be finite.
Pages empty_pages(int64_t count, int64_t heads, int64_t d, at::ScalarType type) {
  return {at::full({count, heads, d, kPagePositions}, kNaN, type),
          at::full({count, heads, kPagePositions, d}, 99.0, type)};
}

class PagedAttention : public ::testing::TestWithParam<Case> {};

TEST_P(PagedAttention, GivesTheBitsOfTreeAttention) {
  at::manual_seed(6);
  const auto [h, kv, d, o] = GetParam();
  constexpr int64_t kRows = 200, kColumns = 4;
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Tensor q = at::randn({kRows, h, d}).to(type), k = at::randn({kRows, kv, d}).to(type),
                 v = at::randn({kRows, kv, d}).to(type);
    const Tensor want = tree_attention(q, k, v, {{0, kRows, 0, 0}}, o);
    // Every row ends a sequence. All of them in the same pages, and each in pages of its own.
    Pages shared = empty_pages(kColumns, kv, d, type);
    write(shared, 0, k, v);
    Pages apart = empty_pages(kRows * kColumns, kv, d, type);
    for (int64_t b = 0; b < kRows; ++b)
      write(apart, b * kColumns, k.narrow(0, 0, b + 1), v.narrow(0, 0, b + 1));
    const Tensor lengths = at::arange(1, kRows + 1, at::kLong);
    const Tensor same = at::arange(kColumns, at::kLong).repeat({kRows, 1});
    const Tensor own = at::arange(kRows * kColumns, at::kLong).view({kRows, kColumns});
    EXPECT_TRUE(at::equal(paged_attention(q, shared, {same, lengths}, o), want)) << type;
    EXPECT_TRUE(at::equal(paged_attention(q, apart, {own, lengths}, o), want)) << type;
  }
}

TEST_P(PagedAttention, IsTreeAttentionInF64) {
  at::manual_seed(7);
  const auto [h, kv, d, o] = GetParam();
  const Tensor q = at::randn({130, h, d}, at::kDouble), k = at::randn({130, kv, d}, at::kDouble),
               v = at::randn({130, kv, d}, at::kDouble);
  Pages pages{at::zeros({3, kv, d, kPagePositions}, at::kDouble),
              at::zeros({3, kv, kPagePositions, d}, at::kDouble)};
  write(pages, 0, k, v);
  const Tensor lengths = at::tensor({1, 64, 65, 130}, at::kLong);
  const Tensor got = paged_attention(q.index_select(0, lengths - 1), pages,
                                     {at::arange(3, at::kLong).repeat({4, 1}), lengths}, o);
  const Tensor want = tree_attention(q, k, v, {{0, 130, 0, 0}}, o);
  EXPECT_TRUE(close(got, want.index_select(0, lengths - 1), 1e-13));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, PagedAttention,
    ::testing::Values(Case{4, 4, 6, {0.4}}, Case{4, 2, 8, {0.4}}, Case{4, 1, 48, {0.14}},
                      Case{2, 2, 64, {0.125}}, Case{2, 1, 80, {0.11}}, Case{3, 1, 128, {0.09}},
                      Case{70, 1, 4, {0.5}}, Case{2, 1, 16, {.scale = 0.25, .window = 1}},
                      Case{4, 2, 8, {.scale = 0.4, .window = 33}},
                      Case{2, 2, 48, {.scale = 0.14, .window = 64}},
                      Case{4, 2, 8, {.scale = 0.9, .softcap = 2}},
                      Case{2, 1, 48, {.scale = 0.14, .window = 40, .softcap = 30}}));

TEST(PagedAttentionTest, GivesASequenceTheSameBitsAloneAndWithAnyNumberOfThreads) {
  at::manual_seed(16);
  const Tensor q = at::randn({9, 6, 16}),
               lengths = at::tensor({1, 64, 65, 130, 7, 128, 99, 3, 70}, at::kLong);
  const Pages pages{at::randn({27, 2, 16, kPagePositions}), at::randn({27, 2, kPagePositions, 16})};
  // Sequences 3 and 5 share their first two pages.
  Tensor table = at::arange(27, at::kLong).view({9, 3}).clone();
  table[5].narrow(0, 0, 2).copy_(table[3].narrow(0, 0, 2));
  const int before = at::get_num_threads();
  const auto with = [&](int threads, int64_t first, int64_t count) {
    at::set_num_threads(threads);
    const auto part = [&](const Tensor& t) { return t.narrow(0, first, count); };
    return paged_attention(part(q), pages, {part(table), part(lengths)}, {0.25});
  };
  const Tensor all = with(2, 0, 9);
  EXPECT_TRUE(at::equal(with(1, 0, 9), all));
  for (int64_t b = 0; b < 9; ++b) EXPECT_TRUE(at::equal(with(2, b, 1)[0], all[b])) << b;
  at::set_num_threads(before);
}

TEST(PagedAttentionTest, KeepsWhatIsNotANumberInItsSequence) {
  at::manual_seed(15);
  const Tensor q = at::randn({3, 2, 6}), lengths = at::tensor({70, 5, 70}, at::kLong);
  const Tensor table = at::arange(6, at::kLong).view({3, 2});
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    Pages pages{at::randn({6, 2, 6, kPagePositions}).to(type),
                at::randn({6, 2, kPagePositions, 6}).to(type)};
    const auto attended = [&] {
      return paged_attention(q.to(type), pages, {table, lengths}, {0.4});
    };
    const Tensor want = attended();
    for (const Tensor& t : {pages.keys, pages.values}) {
      t.narrow(0, 0, 2).fill_(kNaN);
      t.narrow(0, 4, 2).fill_(std::numeric_limits<double>::infinity());
    }
    const Tensor got = attended();
    EXPECT_TRUE(at::equal(got[1], want[1])) << type;
    EXPECT_TRUE(got[0].isnan().all().item<bool>()) << type;
  }
}

TEST(PagedAttentionTest, SaysWhatDoesNotFit) {
  const Tensor q = at::zeros({2, 3, 4});
  const Pages pages{at::zeros({5, 3, 4, 64}), at::zeros({5, 3, 64, 4})};
  const auto message = [&](const Pages& p, int64_t page, int64_t length,
                           const AttentionOptions& o) {
    return test::message_of<ArgumentError>([&] {
      paged_attention(q, p, {at::full({2, 1}, page, at::kLong), at::full({2}, length, at::kLong)},
                      o);
    });
  };
  EXPECT_EQ(message({pages.keys.narrow(2, 0, 2), pages.values}, 0, 1, {}),
            "[paged_attention] q [B, H, d], keys [P, K, d, 64], values [P, K, 64, d], pages [B, T] "
            "and lengths [B] i64 must agree in B, d, K and dtype, with H a multiple of K; got f32 "
            "[2, 3, 4], f32 [5, 3, 2, 64], f32 [5, 3, 64, 4], i64 [2, 1], i64 [2]");
  EXPECT_EQ(message(pages, 0, 0, {}), "[paged_attention] lengths must be from 1 to 64; got 0");
  EXPECT_EQ(message(pages, 0, 65, {}), "[paged_attention] lengths must be from 1 to 64; got 65");
  EXPECT_EQ(message(pages, 5, 1, {}), "[paged_attention] pages must be from 0 to 4; got 5");
  EXPECT_EQ(message(pages, 0, 1, {.window = -2}),
            "[paged_attention] window and softcap must be at least 0; got window -2, softcap 0");
  const auto writing = [&](const Tensor& k, int64_t page, int64_t offset) {
    return test::message_of<ArgumentError>([&] {
      write_pages(pages, at::full({2}, page, at::kLong), at::full({2}, offset, at::kLong), k, k);
    });
  };
  EXPECT_EQ(writing(at::zeros({2, 3, 5}), 0, 0),
            "[write_pages] keys [P, K, d, 64], values [P, K, 64, d], page and offset [N] i64 and "
            "k, v [N, K, d] must agree in N, K, d and dtype; got f32 [5, 3, 4, 64], f32 [5, 3, 64, "
            "4], i64 [2], i64 [2], f32 [2, 3, 5], f32 [2, 3, 5]");
  EXPECT_EQ(writing(q, -1, 0), "[write_pages] pages must be from 0 to 4; got -1");
  EXPECT_EQ(writing(q, 0, 64), "[write_pages] offsets must be from 0 to 63; got 64");
}

}  // namespace
}  // namespace luce
