#include "luce/ops/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

/// The definition, with a mask over all rows and autograd: the oracle.
Tensor masked_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<TreeSegment>& segments, double scale) {
  const int64_t n = q.size(0), g = q.size(1) / k.size(1);
  Tensor allowed = at::zeros({n, n}, at::kBool);
  for (const auto& s : segments)
    for (int64_t i = 0; i < s.length; ++i) {
      for (int64_t j = 0; j < s.prefix_length; ++j) allowed[s.begin + i][s.prefix_begin + j] = true;
      for (int64_t j = 0; j <= i; ++j) allowed[s.begin + i][s.begin + j] = true;
    }
  const Tensor kk = k.repeat_interleave(g, 1), vv = v.repeat_interleave(g, 1);
  const Tensor z = at::einsum("nhd,mhd->hnm", {q, kk}) * scale;
  const Tensor p = at::softmax(
      z.masked_fill(~allowed.unsqueeze(0), -std::numeric_limits<double>::infinity()), -1);
  return at::einsum("hnm,mhd->nhd", {p, vv});
}

const std::vector<TreeSegment> kForest{{0, 5, 0, 0}, {5, 3, 0, 5},  {8, 1, 0, 5},
                                       {9, 1, 0, 0}, {10, 4, 9, 1}, {14, 7, 0, 0}};

struct Case {
  int64_t heads, kv_heads;
};

std::ostream& operator<<(std::ostream& out, const Case& heads) {
  return out << heads.heads << " on " << heads.kv_heads;
}

class TreeAttention : public ::testing::TestWithParam<Case> {};

TEST_P(TreeAttention, EqualsMaskedSoftmaxInValueAndGradient) {
  at::manual_seed(3);
  const auto [h, kv] = GetParam();
  const auto f64 = at::TensorOptions().dtype(at::kDouble);
  Tensor q = at::randn({21, h, 6}, f64).requires_grad_(true);
  Tensor k = at::randn({21, kv, 6}, f64).requires_grad_(true);
  Tensor v = at::randn({21, kv, 6}, f64).requires_grad_(true);
  const Tensor seed = at::randn({21, h, 6}, f64);
  const Tensor out = tree_attention(q, k, v, kForest, 0.4);
  const Tensor want = masked_attention(q, k, v, kForest, 0.4);
  EXPECT_TRUE(close(out, want, 1e-13));
  const auto got_grads = torch::autograd::grad({out}, {q, k, v}, {seed});
  const auto want_grads = torch::autograd::grad({want}, {q, k, v}, {seed});
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(close(got_grads[i], want_grads[i], 1e-12)) << i;
}

INSTANTIATE_TEST_SUITE_P(Heads, TreeAttention,
                         ::testing::Values(Case{4, 4}, Case{4, 2}, Case{3, 1}));

TEST(TreeAttentionTest, GivesTheSameBitsWithOneThreadAndWithTwo) {
  at::manual_seed(4);
  const Tensor q = at::randn({21, 4, 8}), k = at::randn({21, 2, 8}), v = at::randn({21, 2, 8});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor one = tree_attention(q, k, v, kForest, 0.3);
  at::set_num_threads(2);
  const Tensor two = tree_attention(q, k, v, kForest, 0.3);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, two));
}

TEST(TreeAttentionTest, LeavesRowsOutsideEverySegmentZero) {
  const Tensor x = at::ones({4, 1, 2});
  const Tensor out = tree_attention(x, x, x, {{0, 2, 0, 0}}, 1);
  EXPECT_TRUE(close(out.narrow(0, 2, 2), at::zeros({2, 1, 2}), 0));
}

TEST(TreeAttentionTest, SaysWhichShapesDoNotFit) {
  const Tensor q = at::zeros({4, 3, 2}), k = at::zeros({4, 2, 2});
  EXPECT_EQ(test::message_of<ArgumentError>([&] { tree_attention(q, k, k, {}, 1); }),
            "[tree_attention] q [N, H, d] and k, v [N, K, d] must agree in N and d, with H a "
            "multiple of K; "
            "got f32 [4, 3, 2], f32 [4, 2, 2], f32 [4, 2, 2]");
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              tree_attention(q, q, q, {{2, 3, 0, 0}}, 1);
            }),
            "[tree_attention] a segment leaves the 4 rows");
}

TEST(CachedAttention, EqualsTheLastRowOfTreeAttention) {
  at::manual_seed(5);
  const auto f64 = at::TensorOptions().dtype(at::kDouble);
  const Tensor q = at::randn({7, 4, 6}, f64), k = at::randn({7, 2, 6}, f64),
               v = at::randn({7, 2, 6}, f64);
  const Tensor want = tree_attention(q, k, v, {{0, 7, 0, 0}}, 0.4)[6];
  // A cache with room to spare, whose unused places hold rubbish.
  Tensor kc = at::full({1, 2, 10, 6}, 99.0, f64), vc = kc.clone();
  kc[0].narrow(1, 0, 7).copy_(k.transpose(0, 1));
  vc[0].narrow(1, 0, 7).copy_(v.transpose(0, 1));
  const Tensor got = cached_attention(q.narrow(0, 6, 1), kc, vc, at::tensor({7}, at::kLong), 0.4);
  EXPECT_TRUE(close(got[0], want, 1e-13));
}

}  // namespace
}  // namespace luce
