#include "luce/ops/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <sys/resource.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "luce/base/error.h"
#include "ops/attention_backend.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;
using Forest = std::vector<TreeSegment>;

/// The definition, with a mask over all rows and autograd: the oracle.
Tensor masked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Forest& segments,
                        const AttentionOptions& o) {
  const int64_t n = q.size(0), g = q.size(1) / k.size(1);
  Tensor allowed = at::zeros({n, n}, at::kBool);
  bool* allow = allowed.data_ptr<bool>();
  for (const auto& s : segments)
    for (int64_t i = 0; i < s.length; ++i) {
      const int64_t position = s.prefix_length + i;
      const int64_t first = o.window > 0 ? std::max<int64_t>(0, position - o.window + 1) : 0;
      for (int64_t j = first; j <= position; ++j)
        allow[(s.begin + i) * n +
              (j < s.prefix_length ? s.prefix_begin + j : s.begin + j - s.prefix_length)] = true;
    }
  const Tensor kk = k.repeat_interleave(g, 1), vv = v.repeat_interleave(g, 1);
  Tensor z = at::einsum("nhd,mhd->hnm", {q, kk}) * o.scale;
  if (o.softcap > 0) z = at::tanh(z / o.softcap) * o.softcap;
  // A row that sees nothing would not be a number.
  const Tensor row = allowed.any(1).to(q.scalar_type());
  const Tensor p =
      at::softmax(z.masked_fill(~allowed.unsqueeze(0), -1e300), -1) * row.view({1, n, 1});
  return at::einsum("hnm,mhd->nhd", {p, vv});
}

const Forest kForest{{0, 5, 0, 0}, {5, 3, 0, 5},  {8, 1, 0, 5},
                     {9, 1, 0, 0}, {10, 4, 9, 1}, {14, 7, 0, 0}};

/// Lengths around the 64 keys of a block, an empty segment, one that is all prefix, a prefix that
/// is the beginning of its run, and a row of nobody.
const Forest kLongForest{{0, 70, 0, 0},   {70, 63, 0, 70},   {133, 1, 0, 70},  {134, 65, 0, 60},
                         {199, 0, 0, 70}, {199, 64, 0, 0},   {263, 128, 0, 0}, {392, 129, 263, 128},
                         {521, 1, 0, 0},  {522, 31, 521, 1}, {553, 0, 0, 0}};
constexpr int64_t kLongRows = 554;

struct Inputs {
  Tensor q, k, v, seed;

  Inputs(int64_t n, int64_t heads, int64_t kv_heads, int64_t d, double size = 1)
      : q(at::randn({n, heads, d}, at::kDouble).mul_(size)),
        k(at::randn({n, kv_heads, d}, at::kDouble)),
        v(at::randn({n, kv_heads, d}, at::kDouble)),
        seed(at::randn({n, heads, d}, at::kDouble)) {}

  /// Rounded to `dtype`; the values of the other kind of inputs, whatever theirs is.
  Inputs to(at::ScalarType dtype) const {
    Inputs out = *this;
    for (Tensor* t : {&out.q, &out.k, &out.v, &out.seed}) *t = t->to(dtype);
    return out;
  }
};

struct Results {
  Tensor out;
  std::vector<Tensor> gradients;
};

template <class Attention>
Results run(const Attention& attention, const Inputs& in, const Forest& segments,
            const AttentionOptions& o) {
  std::vector<Tensor> leaves;
  for (const Tensor& t : {in.q, in.k, in.v})
    leaves.push_back(t.detach().clone().requires_grad_(true));
  const Tensor out = attention(leaves[0], leaves[1], leaves[2], segments, o);
  return {out.detach(), torch::autograd::grad({out}, leaves, {in.seed})};
}

/// The largest difference as a part of the largest value, or itself where all values are 0.
double distance(const Tensor& got, const Tensor& want) {
  const Tensor w = want.to(at::kDouble);
  const double largest = w.abs().max().item<double>();
  return (got.to(at::kDouble) - w).abs().max().item<double>() / (largest > 0 ? largest : 1);
}

class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

struct Case {
  int64_t heads, kv_heads, d;
  AttentionOptions options;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.heads << " heads on " << c.kv_heads << " of " << c.d << ", window "
             << c.options.window << ", softcap " << c.options.softcap;
}

class TreeAttention : public ::testing::TestWithParam<Case> {};

TEST_P(TreeAttention, IsMaskedSoftmaxInF64ByItsDefinition) {
  at::manual_seed(3);
  const auto [h, kv, d, o] = GetParam();
  for (const auto& [forest, n] : {std::pair{kForest, int64_t{21}}, {kLongForest, kLongRows}}) {
    const Inputs in(n, h, kv, d);
    const Results got = run(tree_attention, in, forest, o);
    const Results want = run(masked_attention, in, forest, o);
    EXPECT_LE(distance(got.out, want.out), 1e-13);
    for (size_t i = 0; i < 3; ++i)
      EXPECT_LE(distance(got.gradients[i], want.gradients[i]), 1e-12) << i;
  }
}

TEST_P(TreeAttention, IsWithinRoundingOfItInF32) {
  at::manual_seed(4);
  const auto [h, kv, d, o] = GetParam();
  for (const auto& [forest, n] : {std::pair{kForest, int64_t{21}}, {kLongForest, kLongRows}}) {
    const Inputs in = Inputs(n, h, kv, d).to(at::kFloat);
    const Results got = run(tree_attention, in, forest, o);
    const Results want = run(masked_attention, in.to(at::kDouble), forest, o);
    EXPECT_EQ(got.out.scalar_type(), at::kFloat);
    EXPECT_LE(distance(got.out, want.out), 2e-6);
    for (size_t i = 0; i < 3; ++i)
      EXPECT_LE(distance(got.gradients[i], want.gradients[i]), 1e-5) << i;
  }
}

TEST_P(TreeAttention, IsWithinRoundingOfItInBf16) {
  at::manual_seed(5);
  const auto [h, kv, d, o] = GetParam();
  const Inputs in = Inputs(kLongRows, h, kv, d).to(at::kBFloat16);
  const Results got = run(tree_attention, in, kLongForest, o);
  const Results want = run(masked_attention, in.to(at::kDouble), kLongForest, o);
  EXPECT_EQ(got.out.scalar_type(), at::kBFloat16);
  EXPECT_LE(distance(got.out, want.out), 4e-3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(got.gradients[i].scalar_type(), at::kBFloat16);
    EXPECT_LE(distance(got.gradients[i], want.gradients[i]), 1e-2) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, TreeAttention,
    ::testing::Values(Case{4, 4, 6, {0.4}}, Case{4, 2, 8, {0.4}}, Case{4, 1, 48, {0.14}},
                      Case{2, 2, 64, {0.125}}, Case{2, 1, 80, {0.11}}, Case{3, 1, 128, {0.09}},
                      Case{70, 1, 4, {0.5}}, Case{2, 1, 16, {.scale = 0.25, .window = 1}},
                      Case{4, 2, 8, {.scale = 0.4, .window = 33}},
                      Case{2, 2, 48, {.scale = 0.14, .window = 64}},
                      Case{2, 2, 6, {.scale = 0.4, .window = 1000}},
                      Case{4, 2, 8, {.scale = 0.9, .softcap = 2}},
                      Case{2, 1, 48, {.scale = 0.14, .window = 40, .softcap = 30}}));

TEST(TreeAttentionTest, GivesTheSameBitsWithOneThreadAndWithTwo) {
  at::manual_seed(7);
  const Inputs in = Inputs(kLongRows, 4, 2, 8).to(at::kFloat);
  const auto with = [&](int threads) {
    const Threads guard(threads);
    return run(tree_attention, in, kLongForest, {0.3});
  };
  const Results one = with(1), two = with(2);
  EXPECT_TRUE(at::equal(one.out, two.out));
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(one.gradients[i], two.gradients[i])) << i;
}

TEST(TreeAttentionTest, GivesASequenceTheSameBitsAloneAndAmongOthers) {
  at::manual_seed(8);
  const Inputs in = Inputs(kLongRows, 4, 2, 48).to(at::kFloat);
  const Tensor all = tree_attention(in.q, in.k, in.v, kLongForest, {0.14});
  // The segment of 129 rows behind its prefix of 128: rows 263 to 520 without row 391 of nobody.
  const auto part = [](const Tensor& t) {
    return at::cat({t.narrow(0, 263, 128), t.narrow(0, 392, 129)});
  };
  const Tensor alone = tree_attention(part(in.q), part(in.k), part(in.v),
                                      {{0, 128, 0, 0}, {128, 129, 0, 128}}, {0.14});
  EXPECT_TRUE(at::equal(alone, part(all)));
}

TEST(TreeAttentionTest, GivesASharedPrefixTheBitsOfItsCopies) {
  at::manual_seed(9);
  const Inputs in = Inputs(150, 4, 2, 48).to(at::kFloat);  // 100 of a prompt, answers of 21 and 29
  const Tensor shared = tree_attention(
      in.q, in.k, in.v, {{0, 100, 0, 0}, {100, 21, 0, 100}, {121, 29, 0, 100}}, {0.14});
  for (const auto& [begin, length] : {std::pair<int64_t, int64_t>{100, 21}, {121, 29}}) {
    const auto own = [begin = begin, length = length](const Tensor& t) {
      return at::cat({t.narrow(0, 0, 100), t.narrow(0, begin, length)});
    };
    const Tensor alone =
        tree_attention(own(in.q), own(in.k), own(in.v), {{0, 100 + length, 0, 0}}, {0.14});
    EXPECT_TRUE(at::equal(alone, own(shared)));
  }
}

TEST(TreeAttentionTest, AddsTheGradientsOfPrefixesThatOverlap) {
  at::manual_seed(10);
  // Runs inside of runs: nothing but their rows tells that these segments belong together.
  const Forest forest{{0, 40, 0, 0}, {40, 30, 10, 20}, {70, 30, 0, 20}, {100, 10, 50, 20}};
  const Inputs in = Inputs(110, 2, 2, 6).to(at::kFloat);
  const Threads guard(2);
  const Results got = run(tree_attention, in, forest, {0.4});
  const Results want = run(masked_attention, in.to(at::kDouble), forest, {0.4});
  EXPECT_LE(distance(got.out, want.out), 2e-6);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_LE(distance(got.gradients[i], want.gradients[i]), 1e-5) << i;
}

TEST(TreeAttentionTest, HoldsAtExtremeScores) {
  at::manual_seed(11);
  // Whole numbers, so that scores up to ±1e4 are exact in f32 and only the softmax is tested.
  for (const double softcap : {0.0, 50.0}) {
    Inputs in(kLongRows, 4, 2, 6);
    in.q = at::randint(-60, 61, in.q.sizes(), in.q.options());
    in.k = at::randint(-60, 61, in.k.sizes(), in.k.options());
    const Inputs narrow = in.to(at::kFloat);
    const AttentionOptions o{.scale = 0.5, .softcap = softcap};
    const Results got = run(tree_attention, narrow, kLongForest, o);
    const Results want = run(masked_attention, narrow.to(at::kDouble), kLongForest, o);
    EXPECT_LE(distance(got.out, want.out), softcap > 0 ? 1e-5 : 2e-6);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(got.gradients[i].isfinite().all().item<bool>()) << i;
      // The kept log-sum-exp is rounded: by up to 5e-4 near 1e4.
      EXPECT_LE(distance(got.gradients[i], want.gradients[i]), 1e-3) << i;
    }
  }
}

TEST(TreeAttentionTest, ShowsWhatIsNotANumber) {
  const Tensor q = at::ones({70, 1, 8}), v = at::ones({70, 1, 8});
  Tensor k = at::ones({70, 1, 8});
  k[66][0][3] = std::numeric_limits<double>::quiet_NaN();
  const Tensor out = tree_attention(q, k, v, {{0, 70, 0, 0}}, {1});
  EXPECT_TRUE(out.narrow(0, 0, 66).isfinite().all().item<bool>());
  EXPECT_TRUE(out.narrow(0, 66, 4).isnan().all().item<bool>());
}

TEST(TreeAttentionTest, KeepsWhatIsNotANumberInItsSequence) {
  at::manual_seed(12);
  const Threads guard(1);  // all sequences go through the same buffers
  const Forest forest{{0, 140, 0, 0}, {204, 5, 140, 64}, {209, 6, 0, 0}};
  const auto sound = [](const Tensor& t) { return t.narrow(0, 140, 75); };
  Inputs in = Inputs(215, 2, 2, 6).to(at::kFloat);
  const Results want = run(tree_attention, in, forest, {0.4});
  for (const Tensor& t : {in.q, in.k, in.v, in.seed})
    t.narrow(0, 0, 140).fill_(std::numeric_limits<double>::quiet_NaN());
  const Results got = run(tree_attention, in, forest, {0.4});
  EXPECT_TRUE(at::equal(sound(got.out), sound(want.out)));
  for (size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(at::equal(sound(got.gradients[i]), sound(want.gradients[i]))) << i;
}

TEST(TreeAttentionTest, PutsSegmentsThatShareRowsIntoOneTree) {
  using Trees = std::vector<std::vector<size_t>>;
  EXPECT_EQ(attention_trees(kForest), (Trees{{0, 1, 2}, {3, 4}, {5}}));
  // By the middle of a run, by its end, by a prefix of a prefix; empty segments are in none.
  EXPECT_EQ(attention_trees({{0, 40, 0, 0}, {90, 0, 0, 40}, {40, 30, 10, 20}, {80, 5, 39, 1}}),
            (Trees{{0, 2, 3}}));
  EXPECT_EQ(attention_trees({{30, 10, 10, 5}, {20, 10, 0, 0}, {40, 5, 25, 2}, {10, 10, 0, 0}}),
            (Trees{{0, 3}, {1, 2}}));
}

TEST(TreeAttentionTest, ReadsRowsThatAreNotContiguous) {
  at::manual_seed(13);
  const Tensor packed = at::randn({21, 8, 10}), across = at::randn({21, 10, 2});
  const Tensor q = packed.narrow(1, 0, 4).narrow(2, 1, 8),
               k = packed.narrow(1, 4, 2).narrow(2, 2, 8),
               v = across.transpose(1, 2).narrow(2, 0, 8);
  EXPECT_TRUE(
      at::equal(tree_attention(q, k, v, kForest, {0.3}),
                tree_attention(q.contiguous(), k.contiguous(), v.contiguous(), kForest, {0.3})));
}

TEST(TreeAttentionTest, HoldsNoMatrixOfScores) {
  // 12,000² scores are 576 MB in f32. The peak is of the process, which is this test alone.
  const auto peak_mb = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
  };
  const int64_t n = 12000;
  const Inputs in = Inputs(n, 1, 1, 6).to(at::kFloat);
  const auto before = peak_mb();
  run(tree_attention, in, {{0, n, 0, 0}}, {0.4});
  EXPECT_LT(peak_mb() - before, 100);
}

TEST(TreeAttentionTest, LeavesRowsOutsideEverySegmentZero) {
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const Inputs in = Inputs(4, 1, 1, 2).to(dtype);
    const Results got = run(tree_attention, in, {{0, 2, 0, 0}}, {1});
    EXPECT_TRUE(close(got.out.narrow(0, 2, 2), at::zeros({2, 1, 2}), 0));
    for (size_t i = 0; i < 3; ++i)
      EXPECT_TRUE(close(got.gradients[i].narrow(0, 2, 2), at::zeros({2, 1, 2}), 0)) << i;
  }
}

TEST(TreeAttentionTest, TakesNoRowsAtAll) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const Results got = run(tree_attention, Inputs(0, 2, 1, 6).to(dtype), {{0, 0, 0, 0}}, {1});
    EXPECT_EQ(got.out.sizes(), at::IntArrayRef({0, 2, 6}));
  }
}

TEST(TreeAttentionTest, SaysWhatDoesNotFit) {
  const Tensor q = at::zeros({4, 3, 2}), k = at::zeros({4, 2, 2});
  const auto message = [](const Tensor& a, const Tensor& b, const Tensor& c, const Forest& forest,
                          const AttentionOptions& o) {
    return test::message_of<ArgumentError>([&] { tree_attention(a, b, c, forest, o); });
  };
  EXPECT_EQ(message(q, k, k, {}, {}),
            "[tree_attention] q [N, H, d] and k, v [N, K, d] must agree in N, d and dtype, with H "
            "a multiple of K; got f32 [4, 3, 2], f32 [4, 2, 2], f32 [4, 2, 2]");
  EXPECT_EQ(message(q, q, q.to(at::kDouble), {}, {}),
            "[tree_attention] q [N, H, d] and k, v [N, K, d] must agree in N, d and dtype, with H "
            "a multiple of K; got f32 [4, 3, 2], f32 [4, 3, 2], f64 [4, 3, 2]");
  EXPECT_EQ(message(q, q, q, {{2, 3, 0, 0}}, {}), "[tree_attention] a segment leaves the 4 rows");
  EXPECT_EQ(message(q, q, q, {}, {.window = -1}),
            "[tree_attention] window and softcap must be at least 0; got window -1, softcap 0");
  EXPECT_EQ(message(q, q, q, {}, {.softcap = -0.5}),
            "[tree_attention] window and softcap must be at least 0; got window 0, softcap -0.5");
}

}  // namespace
}  // namespace luce
