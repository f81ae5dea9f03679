// Attention over trees on a GPU against the definition on the CPU in f64.
#include "luce/ops/attention.h"

#include <torch/csrc/autograd/autograd.h>

#include "gpu/gpu.h"

namespace luce {
namespace {

using test::distance;
using test::to_cpu;
using test::to_gpu;
using Forest = std::vector<TreeSegment>;

class GpuAttention : public test::Gpu {};

struct Inputs {
  Tensor q, k, v, seed;

  Inputs(int64_t n, int64_t heads, int64_t kv_heads, int64_t d) {
    at::manual_seed(static_cast<uint64_t>(n + d));
    // bf16 numbers, so that all dtypes see the same problem.
    const auto draw = [&](int64_t h) {
      return at::randn({n, h, d}, at::kDouble).to(at::kBFloat16).to(at::kDouble);
    };
    q = draw(heads);
    k = draw(kv_heads);
    v = draw(kv_heads);
    seed = draw(heads);
  }
};

struct Results {
  Tensor out;
  std::vector<Tensor> gradients;
};

/// On the CPU in f64 where `type` is that, else on the GPU.
Results run(const Inputs& in, at::ScalarType type, const Forest& forest,
            const AttentionOptions& o) {
  const auto move = [&](const Tensor& t) {
    return type == at::kDouble ? t.clone() : to_gpu(t.to(type));
  };
  std::vector<Tensor> leaves;
  for (const Tensor& t : {in.q, in.k, in.v}) leaves.push_back(move(t).requires_grad_(true));
  const Tensor out = tree_attention(leaves[0], leaves[1], leaves[2], forest, o);
  return {out, torch::autograd::grad({out}, leaves, {move(in.seed)})};
}

void expect_near(const Inputs& in, at::ScalarType type, const Forest& forest,
                 const AttentionOptions& o, double bound) {
  const Results got = run(in, type, forest, o), want = run(in, at::kDouble, forest, o);
  EXPECT_EQ(got.out.scalar_type(), type);
  EXPECT_LE(distance(got.out, want.out.detach()), bound);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(got.gradients[i].scalar_type(), type);
    EXPECT_LE(distance(got.gradients[i], want.gradients[i]), bound) << i;
  }
}

/// Prompts with answers behind them, row after row: of one row, of 64 and around, of two lengths.
const Forest kFull{{0, 5, 0, 0},     {5, 3, 0, 5},     {8, 1, 0, 5},        {9, 1, 0, 0},
                   {10, 4, 9, 1},    {14, 70, 0, 0},   {84, 63, 14, 70},    {147, 1, 14, 70},
                   {148, 0, 14, 70}, {148, 229, 0, 0}, {377, 64, 148, 229}, {441, 31, 0, 0}};
constexpr int64_t kFullRows = 472;
/// A prefix that ends inside a segment, one over two segments, and rows of nobody.
const Forest kOdd{{0, 70, 0, 0}, {70, 31, 0, 60}, {101, 40, 60, 20}, {150, 1, 0, 70}};
constexpr int64_t kOddRows = 155;

const AttentionOptions kOptions[] = {{.scale = 0.3},
                                     {.scale = 0.3, .window = 33},
                                     {.scale = 0.6, .softcap = 2},
                                     {.scale = 0.2, .window = 40, .softcap = 30}};

struct Heads {
  int64_t q, kv, d;
};
constexpr Heads kHeads[] = {{4, 4, 6}, {4, 2, 8}, {3, 1, 64}, {2, 1, 80}, {2, 2, 128}, {2, 1, 256}};

TEST_F(GpuAttention, IsWithinRoundingOfTheDefinitionInF32) {
  for (const auto& [forest, n] : {std::pair{kFull, kFullRows}, {kOdd, kOddRows}})
    for (const Heads& h : kHeads)
      for (const AttentionOptions& o : kOptions) {
        SCOPED_TRACE(::testing::Message() << n << " rows, width " << h.d << ", window " << o.window
                                          << ", softcap " << o.softcap);
        expect_near(Inputs(n, h.q, h.kv, h.d), at::kFloat, forest, o, 1e-5);
      }
}

TEST_F(GpuAttention, IsWithinRoundingOfTheDefinitionInBf16) {
  for (const auto& [forest, n] : {std::pair{kFull, kFullRows}, {kOdd, kOddRows}})
    for (const Heads& h : kHeads)
      for (const AttentionOptions& o : kOptions) {
        SCOPED_TRACE(::testing::Message() << n << " rows, width " << h.d << ", window " << o.window
                                          << ", softcap " << o.softcap);
        expect_near(Inputs(n, h.q, h.kv, h.d), at::kBFloat16, forest, o, 2e-2);
      }
}

TEST_F(GpuAttention, MergesSegmentsOfOneRowEach) {
  const Forest ones{{0, 1, 0, 0}, {1, 1, 0, 1}, {2, 1, 0, 1}, {3, 1, 0, 0}};
  expect_near(Inputs(4, 4, 2, 64), at::kBFloat16, ones, {.scale = 0.3}, 2e-2);
  expect_near(Inputs(4, 4, 2, 64), at::kFloat, ones, {.scale = 0.3}, 1e-5);
}

TEST_F(GpuAttention, LeavesRowsOutsideEverySegmentZero) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Results got = run(Inputs(kOddRows, 2, 1, 64), type, kOdd, {.scale = 0.3});
    for (const Tensor& t : {got.out, got.gradients[0], got.gradients[1], got.gradients[2]})
      EXPECT_EQ(t.narrow(0, 151, 4).abs().sum().item<double>(), 0);
  }
}

TEST_F(GpuAttention, TakesNoRowsAtAll) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Results got = run(Inputs(0, 2, 1, 8), type, {{0, 0, 0, 0}}, {.scale = 1});
    EXPECT_EQ(got.out.sizes(), at::IntArrayRef({0, 2, 8}));
  }
}

}  // namespace
}  // namespace luce
