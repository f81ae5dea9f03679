// Attention to pages on a GPU against the definition on the CPU in f64.
#include "luce/ops/paged_attention.h"

#include <algorithm>
#include <limits>

#include "gpu/gpu.h"

namespace luce {
namespace {

using test::distance;
using test::to_cpu;
using test::to_gpu;

class GpuPagedAttention : public test::Gpu {};

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kBlocks = 3;

/// Sequences whose positions were written to pages of the middle one of three blocks.
struct Cache {
  Tensor keys, values, q, table, lengths;

  Pages pages() const { return {keys.select(1, 1), values.select(1, 1)}; }
  PageTable places() const { return {table, lengths}; }
};

struct Problem {
  int64_t heads, kv_heads, width;
  std::vector<int64_t> lengths;
};

/// On the CPU in f64 where `type` is that, else on the GPU; from the same numbers in any case.
Cache cache(const Problem& p, at::ScalarType type) {
  at::manual_seed(static_cast<uint64_t>(p.width));
  const auto normal = [](at::IntArrayRef sizes) {
    return at::randn(sizes, at::kDouble).to(at::kBFloat16).to(at::kDouble);
  };
  const auto move = [&](const Tensor& t) {
    const Tensor typed = t.is_floating_point() ? t.to(type) : t;
    return type == at::kDouble ? typed : to_gpu(typed);
  };
  const auto rows = static_cast<int64_t>(p.lengths.size());
  const int64_t longest = *std::max_element(p.lengths.begin(), p.lengths.end());
  const int64_t columns = (longest + kPagePositions - 1) / kPagePositions;
  const int64_t pages = rows * columns + 1;
  Cache out;
  // Keys that were never written are no numbers; values must be finite for the definition.
  out.keys =
      move(at::full({pages, kBlocks, p.kv_heads, p.width, kPagePositions}, kNaN, at::kDouble));
  out.values =
      move(at::full({pages, kBlocks, p.kv_heads, kPagePositions, p.width}, 99.0, at::kDouble));
  const Tensor table = at::randperm(pages, at::kLong).narrow(0, 0, rows * columns);
  out.table = move(table.view({rows, columns}));
  out.lengths = move(at::tensor(p.lengths, at::kLong));
  out.q = move(normal({rows, p.heads, p.width}));
  for (int64_t b = 0; b < rows; ++b) {
    const int64_t n = p.lengths[static_cast<size_t>(b)];
    const Tensor at = at::arange(n, at::kLong);
    const Tensor page =
        table.view({rows, columns})[b].index_select(0, at::floor_divide(at, kPagePositions));
    // Parts of one matrix, as a projection makes them.
    const Tensor kv = move(normal({n, 2 * p.kv_heads, p.width}));
    write_pages(out.pages(), move(page), move(at.remainder(kPagePositions)),
                kv.narrow(1, 0, p.kv_heads), kv.narrow(1, p.kv_heads, p.kv_heads));
  }
  return out;
}

const Problem kProblems[] = {{4, 4, 6, {1, 63, 64, 65, 130}}, {4, 2, 8, {200, 1, 257}},
                             {8, 1, 64, {1000, 256, 5}},      {2, 1, 80, {65, 700}},
                             {14, 2, 128, {300, 64, 2500}},   {20, 2, 256, {70, 9000}}};
const AttentionOptions kOptions[] = {{.scale = 0.12},
                                     {.scale = 0.12, .window = 33},
                                     {.scale = 0.3, .softcap = 2},
                                     {.scale = 0.1, .window = 300, .softcap = 30}};

TEST_F(GpuPagedAttention, IsWithinRoundingOfTheDefinition) {
  for (const Problem& p : kProblems) {
    const Cache exact = cache(p, at::kDouble);
    for (const auto& [type, bound] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 1e-2}}) {
      const Cache got = cache(p, type);
      for (const AttentionOptions& o : kOptions) {
        SCOPED_TRACE(::testing::Message() << type << ", width " << p.width << ", window "
                                          << o.window << ", softcap " << o.softcap);
        const Tensor out = paged_attention(got.q, got.pages(), got.places(), o);
        EXPECT_EQ(out.scalar_type(), type);
        EXPECT_LE(distance(out, paged_attention(exact.q, exact.pages(), exact.places(), o)), bound);
      }
    }
  }
}

TEST_F(GpuPagedAttention, WritesTokensToTheirPlacesAlone) {
  for (const Problem& p : kProblems) {
    const Cache exact = cache(p, at::kDouble), got = cache(p, at::kFloat);
    const auto same = [](const Tensor& a, const Tensor& b) {
      return at::allclose(to_cpu(a).to(at::kDouble), b, 0, 0, /*equal_nan=*/true);
    };
    EXPECT_TRUE(same(got.keys, exact.keys)) << p.width;
    EXPECT_TRUE(same(got.values, exact.values)) << p.width;
  }
}

TEST_F(GpuPagedAttention, GivesASequenceTheSameBitsAlone) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const Problem& p : kProblems) {
      const Cache c = cache(p, type);
      const AttentionOptions o{.scale = 0.1};
      const Tensor all = paged_attention(c.q, c.pages(), c.places(), o);
      for (int64_t b = 0; b < c.q.size(0); ++b) {
        const int64_t n = p.lengths[static_cast<size_t>(b)];
        const PageTable own{
            c.table.narrow(0, b, 1).narrow(1, 0, (n + kPagePositions - 1) / kPagePositions),
            c.lengths.narrow(0, b, 1)};
        const Tensor alone = paged_attention(c.q.narrow(0, b, 1), c.pages(), own, o);
        EXPECT_TRUE(at::equal(alone[0], all[b])) << "width " << p.width << ", row " << b;
      }
    }
}

TEST_F(GpuPagedAttention, TakesNoRowsAtAll) {
  const Cache c = cache({2, 1, 8, {5}}, at::kFloat);
  const auto none = [](const Tensor& t) { return t.narrow(0, 0, 0); };
  const Tensor out =
      paged_attention(none(c.q), c.pages(), {none(c.table), none(c.lengths)}, {.scale = 1});
  EXPECT_EQ(out.sizes(), at::IntArrayRef({0, 2, 8}));
}

}  // namespace
}  // namespace luce
