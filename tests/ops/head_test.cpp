#include "luce/ops/head.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

struct Inputs {
  Tensor hidden, weight, targets;
  Inputs(int64_t m, int64_t v, at::ScalarType type) {
    at::manual_seed(static_cast<uint64_t>(m * 1000 + v));
    hidden = at::randn({m, 5}, at::kDouble).to(type);
    weight = at::randn({v, 5}, at::kDouble).to(type);
    targets = at::randint(v, {m}, at::kLong);
  }
};

const HeadOptions kAll{.entropy = true, .greedy_match = true, .mean_logit = true};

/// So few bytes that a chunk holds `rows` rows.
HeadOptions budget(int64_t rows, const Inputs& in) {
  HeadOptions o = kAll;
  o.chunk_bytes = rows * in.weight.size(0) * static_cast<int64_t>(in.weight.element_size());
  return o;
}

TEST(Head, EqualsLogSoftmaxWhateverTheChunk) {
  for (const int64_t m : {1, 31, 229})
    for (const int64_t v : {2, 31, 229}) {
      const Inputs in(m, v, at::kDouble);
      const Tensor z = at::mm(in.hidden, in.weight.t()), log_p = at::log_softmax(z, 1);
      for (const int64_t rows : {int64_t{1}, int64_t{7}, m}) {
        const auto got = head(in.hidden, in.weight, in.targets, budget(rows, in));
        EXPECT_TRUE(close(got.logps, log_p.gather(1, in.targets.unsqueeze(1)).squeeze(1), 1e-13));
        EXPECT_TRUE(close(got.entropy, -(log_p.exp() * log_p).sum(1), 1e-12));
        EXPECT_TRUE(close(got.mean_logit, z.mean(1), 1e-13));
        EXPECT_TRUE(close(got.greedy_match, z.argmax(1).eq(in.targets).to(at::kDouble), 0));
      }
    }
}

TEST(Head, HasNoRowsForNoTargets) {
  const Inputs in(0, 9, at::kFloat);
  EXPECT_EQ(head(in.hidden, in.weight, in.targets, kAll).logps.numel(), 0);
}

TEST(Head, KeepsF32StatisticsOfF16RangeModelsExactEnough) {
  const Inputs in(31, 229, at::kDouble);
  const Tensor h = in.hidden.to(at::kBFloat16), w = in.weight.to(at::kBFloat16);
  const Tensor want = at::log_softmax(at::mm(h.to(at::kDouble), w.to(at::kDouble).t()), 1)
                          .gather(1, in.targets.unsqueeze(1))
                          .squeeze(1);
  const auto got = head(h, w, in.targets, {});
  EXPECT_EQ(got.logps.scalar_type(), at::kFloat);
  EXPECT_TRUE(close(got.logps, want, 1e-5));
}

/// The gradient of Σ w·sin(logp), whose slope depends on the statistics themselves.
Tensor wavy(const HeadStats& stats, const Tensor& w, Range r) {
  return w.narrow(0, r.begin, r.end - r.begin) * stats.logps.cos();
}

TEST(HeadBackward, EqualsAutogradForEveryCutOfTheUnits) {
  const Inputs in(23, 31, at::kDouble);
  const Tensor w = at::randn({23}, at::kDouble);
  Tensor h = in.hidden.clone().requires_grad_(true),
         weight = in.weight.clone().requires_grad_(true);
  const Tensor logps =
      at::log_softmax(at::mm(h, weight.t()), 1).gather(1, in.targets.unsqueeze(1)).squeeze(1);
  const auto want = torch::autograd::grad({(w * logps.sin()).sum()}, {h, weight});
  const std::vector<std::vector<int64_t>> cuts{{0, 23}, {0, 5, 5, 9, 20, 23}, {0, 1, 2, 3, 23}};
  for (const auto& units : cuts)
    for (const int64_t rows : {1, 4, 10, 100}) {
      Tensor dh = at::zeros_like(in.hidden), dw = at::zeros_like(in.weight);
      std::vector<std::pair<int64_t, int64_t>> seen;
      const auto stats = head_backward(
          in.hidden, in.weight, in.targets, units, budget(rows, in),
          [&](const HeadStats& s, Range r) {
            seen.emplace_back(r.begin, r.end);
            return wavy(s, w, r);
          },
          dh, dw);
      EXPECT_TRUE(close(stats.logps, logps, 1e-13));
      EXPECT_TRUE(close(dh, want[0], 1e-12));
      EXPECT_TRUE(close(dw, want[1], 1e-12));
      int64_t at = 0;  // the loss sees every target once, in whole units
      for (const auto& [begin, end] : seen) {
        EXPECT_EQ(begin, at);
        EXPECT_NE(std::find(units.begin(), units.end(), end), units.end());
        at = end;
      }
      EXPECT_EQ(at, 23);
    }
}

TEST(HeadBackward, AddsToWhatStandsInTheBuffersAndSkipsAFrozenHead) {
  const Inputs in(4, 6, at::kDouble);
  const auto ones = [](const HeadStats& s, Range) { return at::ones_like(s.logps); };
  Tensor once = at::zeros_like(in.hidden), twice = at::zeros_like(in.hidden);
  Tensor dw = at::zeros_like(in.weight), dw2 = at::zeros_like(in.weight);
  head_backward(in.hidden, in.weight, in.targets, {0, 4}, {}, ones, once, dw);
  for (int i = 0; i < 2; ++i)
    head_backward(in.hidden, in.weight, in.targets, {0, 4}, {}, ones, twice, dw2);
  EXPECT_TRUE(close(twice, 2 * once, 1e-14));
  EXPECT_TRUE(close(dw2, 2 * dw, 1e-14));
  Tensor frozen = at::zeros_like(in.hidden);
  head_backward(in.hidden, in.weight, in.targets, {0, 4}, {}, ones, frozen, Tensor());
  EXPECT_TRUE(close(frozen, once, 1e-14));
}

TEST(HeadBackward, SaysWhatTheLossMustReturn) {
  const Inputs in(4, 6, at::kFloat);
  Tensor dh = at::zeros_like(in.hidden);
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              head_backward(
                  in.hidden, in.weight, in.targets, {0, 4}, {},
                  [](const HeadStats&, Range) { return at::ones({3}); }, dh, Tensor());
            }),
            "[head_backward] the loss must return one gradient per target, [4]; got f32 [3]");
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              head_backward(in.hidden, in.weight, in.targets, {0, 3}, {}, {}, dh, Tensor());
            }),
            "[head_backward] units must ascend from 0 to 4");
}

TEST(Head, NamesTargetsOutsideTheVocabulary) {
  const Inputs in(2, 6, at::kFloat);
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              head(in.hidden, in.weight, at::tensor({1, 6}, at::kLong), {});
            }),
            "[head] targets must lie in [0, 6); got values from 1 to 6");
  EXPECT_EQ(
      test::message_of<ArgumentError>([&] { head(in.hidden, in.weight, at::zeros({2}), {}); }),
      "[head] expected hidden [M, D], weight [V, D] and i64 targets [M]; got f32 [2, 5], f32 [6, "
      "5], "
      "f32 [2]");
}

TEST(HeadKl, EqualsTheSumOverTheVocabularyForTwoWidths) {
  const Inputs p(23, 31, at::kDouble);
  const Tensor q_hidden = at::randn({23, 3}, at::kDouble),
               q_weight = at::randn({31, 3}, at::kDouble);
  const Tensor log_p = at::log_softmax(at::mm(p.hidden, p.weight.t()), 1);
  const Tensor log_q = at::log_softmax(at::mm(q_hidden, q_weight.t()), 1);
  const Tensor want = (log_p.exp() * (log_p - log_q)).sum(1);
  EXPECT_TRUE(close(head_kl(p.hidden, p.weight, q_hidden, q_weight, budget(6, p)), want, 1e-12));
  EXPECT_TRUE(close(head_kl(p.hidden, p.weight, p.hidden, p.weight, {}),
                    at::zeros({23}, at::kDouble), 1e-14));
}

}  // namespace
}  // namespace luce
