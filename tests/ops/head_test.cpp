#include "luce/ops/head.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "luce/base/error.h"
#include "ops/head_cases.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;
using test::HeadCase;
using test::HeadTensors;
using test::kHeadCases;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

HeadOptions everything(const Candidates* candidates = nullptr) {
  return {.entropy = true,
          .log_sum_p2 = true,
          .greedy_match = true,
          .mean_logit = true,
          .candidates = candidates};
}

/// So few bytes that a chunk holds `rows` rows.
HeadOptions budget(HeadOptions o, int64_t rows, const Tensor& weight) {
  const int64_t size = weight.scalar_type() == at::kDouble ? 8 : 4;
  o.chunk_bytes = rows * weight.size(0) * size;
  return o;
}

Tensor z_of(const Tensor& hidden, const Tensor& weight, const LogitOptions& o) {
  const Tensor x = at::mm(hidden.to(at::kDouble), weight.to(at::kDouble).t()) * o.logit_scale;
  return (o.softcap > 0 ? o.softcap * at::tanh(x / o.softcap) : x) / o.temperature;
}

/// The statistics from their definitions, in f64 with autograd.
HeadStats defined(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                  const HeadOptions& o) {
  const Tensor z = z_of(hidden, weight, o.logits), log_p = at::log_softmax(z, 1), p = log_p.exp();
  HeadStats out{.logps = log_p.gather(1, targets.unsqueeze(1)).squeeze(1),
                .entropy = -(p * log_p).sum(1),
                .log_sum_p2 = p.square().sum(1).log(),
                .greedy_match = z.argmax(1).eq(targets).to(at::kDouble),
                .mean_logit = z.mean(1)};
  if (o.candidates != nullptr) {
    std::vector<Tensor> parts{at::empty({0}, at::kDouble)};
    for (int64_t m = 0; m < hidden.size(0); ++m) {
      const auto i = static_cast<size_t>(m);
      const Tensor ids = o.candidates->ids.narrow(
          0, o.candidates->offset[i], o.candidates->offset[i + 1] - o.candidates->offset[i]);
      parts.push_back(log_p[m].index_select(0, ids));
    }
    out.candidate_logps = at::cat(parts);
  }
  return out;
}

void expect_equal(const HeadStats& got, const HeadStats& want, double tolerance) {
  EXPECT_TRUE(close(got.logps, want.logps, tolerance));
  EXPECT_TRUE(close(got.entropy, want.entropy, tolerance));
  EXPECT_TRUE(close(got.log_sum_p2, want.log_sum_p2, tolerance));
  EXPECT_TRUE(close(got.greedy_match, want.greedy_match, 0));
  EXPECT_TRUE(close(got.mean_logit, want.mean_logit, tolerance));
  EXPECT_TRUE(close(got.candidate_logps, want.candidate_logps, tolerance));
}

const LogitOptions kMaps[] = {{},
                              {.temperature = 0.7},
                              {.logit_scale = 0.25},
                              {.temperature = 1.3, .logit_scale = 2, .softcap = 5}};

struct Dtype {
  at::ScalarType type;
  double values, gradients;  // tolerances: absolute · relative to the norm
};

class HeadOf : public ::testing::TestWithParam<Dtype> {};

TEST_P(HeadOf, EqualsItsDefinitionWhateverTheChunk) {
  const auto [type, tolerance, ignored] = GetParam();
  for (const HeadCase& c : kHeadCases) {
    const HeadTensors in(c, type);
    const Candidates candidates = test::some_candidates(c);
    for (const LogitOptions& map : kMaps) {
      HeadOptions o = everything(&candidates);
      o.logits = map;
      const HeadStats want = defined(in.hidden, in.weight, in.targets, o);
      for (const int64_t rows : {int64_t{1}, int64_t{37}, c.m}) {
        if (rows == 1 && c.m > 31) continue;
        SCOPED_TRACE(::testing::Message() << c.m << " x " << c.d << " x " << c.v << ", " << rows
                                          << " rows, temperature " << map.temperature);
        expect_equal(head(in.hidden, in.weight, in.targets, budget(o, rows, in.weight)), want,
                     tolerance);
      }
    }
  }
}

/// A function of every statistic whose slopes depend on the statistics: Σ w sin(s).
struct Wavy {
  Tensor w;
  std::optional<Tensor> candidate_w;

  HeadGradients slopes(const HeadStats& s, Range r, const Candidates& c) const {
    const Tensor part = w.narrow(0, r.begin, r.end - r.begin);
    const int64_t first = c.offset[static_cast<size_t>(r.begin)];
    const auto at = [&](const Tensor& t, double factor) {
      return factor * part * t.to(at::kDouble).cos();
    };
    return {.logps = at(s.logps, 1),
            .entropy = at(s.entropy, 0.5),
            .log_sum_p2 = at(s.log_sum_p2, 0.3),
            .mean_logit = at(s.mean_logit, 0.2),
            .candidate_logps = candidate_w->narrow(0, first, s.candidate_logps.numel()) *
                               s.candidate_logps.to(at::kDouble).cos()};
  }
  Tensor value(const HeadStats& s) const {
    return (w * s.logps.sin()).sum() + 0.5 * (w * s.entropy.sin()).sum() +
           0.3 * (w * s.log_sum_p2.sin()).sum() + 0.2 * (w * s.mean_logit.sin()).sum() +
           (*candidate_w * s.candidate_logps.sin()).sum();
  }
};

TEST_P(HeadOf, HasTheGradientOfItsDefinitionForEveryCut) {
  const auto [type, ignored, tolerance] = GetParam();
  for (const HeadCase& c : kHeadCases) {
    const HeadTensors in(c, type);
    const Candidates candidates = test::some_candidates(c);
    const Wavy loss{at::randn({c.m}, at::kDouble),
                    at::randn({candidates.offset.back()}, at::kDouble)};
    for (const LogitOptions& map : kMaps) {
      HeadOptions o = everything(&candidates);
      o.logits = map;
      Tensor h = in.hidden.to(at::kDouble).requires_grad_(true),
             w = in.weight.to(at::kDouble).requires_grad_(true);
      const auto want = torch::autograd::grad({loss.value(defined(h, w, in.targets, o))}, {h, w});
      const int64_t third = c.m / 3;
      for (const auto& units : std::vector<std::vector<int64_t>>{
               {0, c.m}, {0, third, third, c.m}, {0, third, 2 * third, c.m}})
        for (const int64_t rows : {c.m, std::max<int64_t>(1, c.m / 2)}) {
          Tensor dh = at::zeros_like(in.hidden);
          Tensor dw = at::zeros_like(in.weight, statistics_type(type));
          int64_t at = 0;
          const HeadStats got = head_backward(
              in.hidden, in.weight, in.targets, units, budget(o, rows, in.weight),
              [&](const HeadStats& s, Range r) {
                EXPECT_EQ(r.begin, at);  // every target once, in whole units
                EXPECT_NE(std::find(units.begin(), units.end(), r.end), units.end());
                at = r.end;
                return loss.slopes(s, r, candidates);
              },
              dh, dw);
          EXPECT_EQ(at, c.m);
          EXPECT_EQ(got.logps.numel(), c.m);
          EXPECT_LE(test::relative_distance(dh, want[0]), tolerance) << c.m << " " << c.v;
          EXPECT_LE(test::relative_distance(dw, want[1]), tolerance) << c.m << " " << c.v;
        }
    }
  }
}

TEST_P(HeadOf, AddsToWhatStandsInTheBuffersAndSkipsAFrozenHead) {
  const HeadTensors in({130, 6, 300}, GetParam().type);
  const auto ones = [](const HeadStats& s, Range) {
    return HeadGradients{.logps = at::ones_like(s.logps)};
  };
  const auto run = [&](Tensor dh, const Tensor& dw) {
    head_backward(in.hidden, in.weight, in.targets, {0, 130}, {}, ones, dh, dw);
  };
  const auto type = statistics_type(GetParam().type);
  Tensor once = at::zeros_like(in.hidden, type), twice = at::zeros_like(once),
         frozen = at::zeros_like(once);
  Tensor dw = at::zeros_like(in.weight, type), dw2 = at::zeros_like(dw);
  run(once, dw);
  run(twice, dw2);
  run(twice, dw2);
  run(frozen, Tensor());
  EXPECT_LE(test::relative_distance(twice, 2 * once), 1e-6);
  EXPECT_LE(test::relative_distance(dw2, 2 * dw), 1e-6);
  EXPECT_TRUE(at::equal(frozen, once));
}

TEST_P(HeadOf, TakesTheLikeliestTokens) {
  const HeadTensors in({31, 6, 229}, GetParam().type);
  const auto got = head(in.hidden, in.weight, in.targets, {.top_k = 5});
  const Tensor log_p = at::log_softmax(z_of(in.hidden, in.weight, {}), 1);
  const auto [values, ids] = log_p.topk(5, 1);
  EXPECT_TRUE(close(got.top_logps, values, GetParam().values));
  EXPECT_TRUE(close(log_p.gather(1, got.top_ids), values, GetParam().values));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, HeadOf,
                         ::testing::Values(Dtype{at::kDouble, 1e-11, 1e-11},
                                           Dtype{at::kFloat, 5e-5, 5e-6},
                                           Dtype{at::kBFloat16, 5e-5, 2e-2}),
                         [](const auto& param) { return c10::toString(param.param.type); });

TEST(Head, HasNoRowsForNoTargets) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    const HeadTensors in({0, 5, 9}, type);
    EXPECT_EQ(head(in.hidden, in.weight, in.targets, everything()).entropy.numel(), 0);
    Tensor dh = at::zeros_like(in.hidden);
    const auto stats = head_backward(in.hidden, in.weight, in.targets, {0, 0}, {}, {}, dh, {});
    EXPECT_EQ(stats.logps.numel(), 0);
  }
}

TEST(Head, GivesARowTheSameBitsWhateverStandsBesideItAndOnAnyNumberOfThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const HeadTensors in({300, 64, 2100}, type);
    const auto rows = [&](int64_t begin, int64_t n) {
      return head(in.hidden.narrow(0, begin, n), in.weight, in.targets.narrow(0, begin, n),
                  everything());
    };
    const HeadStats all = rows(0, 300);
    for (const auto& [begin, n] : {std::pair<int64_t, int64_t>{0, 1}, {17, 3}, {127, 130}}) {
      const HeadStats some = rows(begin, n);
      EXPECT_TRUE(at::equal(some.logps, all.logps.narrow(0, begin, n)));
      EXPECT_TRUE(at::equal(some.entropy, all.entropy.narrow(0, begin, n)));
    }
    const auto gradients = [&](int threads) {
      const int before = at::get_num_threads();
      at::set_num_threads(threads);
      Tensor dh = at::zeros_like(in.hidden), dw = at::zeros_like(in.weight, at::kFloat);
      head_backward(
          in.hidden, in.weight, in.targets, {0, 300}, {},
          [](const HeadStats& s, Range) { return HeadGradients{.logps = s.logps.sin()}; }, dh, dw);
      at::set_num_threads(before);
      return std::pair{dh, dw};
    };
    const auto one = gradients(1), two = gradients(2);
    EXPECT_TRUE(at::equal(one.first, two.first));
    EXPECT_TRUE(at::equal(one.second, two.second));
  }
}

TEST(Head, BearsExtremeLogits) {
  // Logits of ±1e4, and −∞ for tokens that cannot occur: hidden [1, big], weight columns choose.
  for (const auto type : {at::kDouble, at::kFloat}) {
    const Tensor hidden = at::tensor({1.0, 0.0, 1.0, 1.0}, at::kDouble).view({2, 2}).to(type);
    const Tensor weight =
        at::tensor({1e4, 0.0, -1e4, 0.0, -kInfinity, -kInfinity, 3.0, 1.0}, at::kDouble)
            .view({4, 2})
            .to(type);
    // 0 · −∞ is NaN: the second column of row 0 must not meet it.
    const Tensor h = hidden.clone();
    h[0][1] = 1e-3;
    const Tensor targets = at::tensor({0, 1}, at::kLong);
    const HeadStats got = head(h, weight, targets, everything());
    EXPECT_TRUE(close(got.logps, at::tensor({0.0, -2e4}, at::kDouble), 1e-2));
    EXPECT_TRUE(close(got.entropy, at::zeros({2}), 1e-5));
    EXPECT_TRUE(close(got.log_sum_p2, at::zeros({2}), 1e-5));
    Tensor dh = at::zeros_like(h), dw = at::zeros_like(weight);
    HeadOptions o = everything();
    o.mean_logit = false;
    const Tensor finite_weight = at::where(weight.isinf(), at::full_like(weight, -1e4), weight);
    head_backward(
        h, finite_weight, targets, {0, 2}, o,
        [](const HeadStats& s, Range) {
          return HeadGradients{.logps = at::ones_like(s.logps),
                               .entropy = at::ones_like(s.logps),
                               .log_sum_p2 = at::ones_like(s.logps)};
        },
        dh, dw);
    EXPECT_TRUE(at::isfinite(dh).all().item<bool>());
    EXPECT_TRUE(at::isfinite(dw).all().item<bool>());
    Tensor dw_masked = at::zeros_like(weight), dh_masked = at::zeros_like(h);
    head_backward(
        h, weight, targets, {0, 2}, o,
        [](const HeadStats& s, Range) {
          return HeadGradients{.logps = at::ones_like(s.logps), .entropy = at::ones_like(s.logps)};
        },
        dh_masked, dw_masked);
    EXPECT_TRUE(at::isfinite(dw_masked).all().item<bool>());  // p = 0 there: no gradient, no NaN
    EXPECT_TRUE(close(dw_masked[2], at::zeros({2}), 0));
    const Tensor nothing = at::full({3, 2}, -kInfinity, at::kDouble).to(type);
    EXPECT_FALSE(std::isfinite(head(h, nothing, targets, {}).logps[0].item<double>()));
  }
}

TEST(Head, GivesNoNumberWhereALogitIsNone) {
  for (const auto type : {at::kDouble, at::kFloat}) {
    HeadTensors in({3, 6, 300}, type);
    in.weight[17][2] = std::nan("");  // one entry of the vocabulary: every row meets it
    const Tensor logps = head(in.hidden, in.weight, in.targets, {}).logps;
    EXPECT_TRUE(at::isnan(logps).all().item<bool>());
  }
}

TEST(Head, HoldsNoMoreLogitsThanItsBudgetAndSaysHowMany) {
  const HeadTensors in({300, 6, 500}, at::kFloat);
  HeadUse use;
  HeadOptions o = budget({}, 100, in.weight);
  o.use = &use;
  Tensor dh = at::zeros_like(in.hidden);
  const auto ones = [](const HeadStats& s, Range) {
    return HeadGradients{.logps = at::ones_like(s.logps)};
  };
  head_backward(in.hidden, in.weight, in.targets, {0, 50, 250, 300}, o, ones, dh, {});
  EXPECT_EQ(use.rows_per_chunk, 96);
  EXPECT_EQ(use.recomputed_units, 1);
  EXPECT_EQ(use.chunks, 1 + 6 + 1);
  use = {};
  o.max_chunk_bytes = 3 * o.chunk_bytes;  // room for the largest unit
  head_backward(in.hidden, in.weight, in.targets, {0, 50, 250, 300}, o, ones, dh, {});
  EXPECT_EQ(use.rows_per_chunk, 200);
  EXPECT_EQ(use.recomputed_units, 0);
}

TEST(HeadBackward, SaysWhatTheLossMustReturn) {
  const HeadTensors in({4, 5, 6}, at::kFloat);
  Tensor dh = at::zeros_like(in.hidden);
  const auto message = [&](const HeadGradients& g, const std::vector<int64_t>& units) {
    return test::message_of<ArgumentError>([&] {
      head_backward(
          in.hidden, in.weight, in.targets, units, {}, [&](const HeadStats&, Range) { return g; },
          dh, Tensor());
    });
  };
  EXPECT_EQ(message({.logps = at::ones({3})}, {0, 4}),
            "[head_backward] the loss must return one gradient of logps per value, f32 [4]; got "
            "f32 [3]");
  EXPECT_EQ(message({.entropy = at::ones({4})}, {0, 4}),
            "[head_backward] the loss returned a gradient of entropy, which HeadOptions did not "
            "ask for");
  EXPECT_EQ(message({}, {0, 4}), "[head_backward] the loss returned no gradient at all");
  EXPECT_EQ(message({}, {0, 3}), "[head_backward] units must ascend from 0 to 4");
}

TEST(Head, NamesWhatIsWrongWithItsArguments) {
  const HeadTensors in({2, 5, 6}, at::kFloat);
  const auto message = [&](const Tensor& targets, const HeadOptions& o) {
    return test::message_of<ArgumentError>([&] { head(in.hidden, in.weight, targets, o); });
  };
  EXPECT_EQ(message(at::tensor({1, 6}, at::kLong), {}),
            "[head] targets must lie in [0, 6); got values from 1 to 6");
  EXPECT_EQ(message(at::zeros({2}), {}),
            "[head] expected hidden [M, D], weight [V, D] of one dtype and i64 targets [M]; got "
            "f32 [2, 5], f32 [6, 5], f32 [2]");
  EXPECT_EQ(message(in.targets, {.logits = {.temperature = 0}}),
            "[head] temperature must be above 0 and softcap at least 0; got 0 and 0");
  EXPECT_EQ(message(in.targets, {.top_k = 7}), "[head] top_k must lie in [0, 6]; got 7");
  const Candidates short_offsets{{0, 1}, at::zeros({1}, at::kLong)};
  EXPECT_EQ(message(in.targets, {.candidates = &short_offsets}),
            "[head] offsets of candidates must ascend from 0 to their number, 1, with one more "
            "than the 2 targets");
  const Candidates outside{{0, 1, 1}, at::tensor({-1}, at::kLong)};
  EXPECT_EQ(message(in.targets, {.candidates = &outside}),
            "[head] candidates must lie in [0, 6); got values from -1 to -1");
}

/// The divergences from their definitions, in f64 with autograd.
Tensor defined(const HeadSide& p_side, const HeadSide& q_side, const DivergenceOptions& o) {
  const Tensor log_p = at::log_softmax(z_of(p_side.hidden, p_side.weight, p_side.logits), 1);
  const Tensor log_q = at::log_softmax(z_of(q_side.hidden, q_side.weight, q_side.logits), 1);
  const Tensor p = log_p.exp(), q = log_q.exp();
  if (o.kind == Divergence::forward_kl) return (p * (log_p - log_q)).sum(1);
  if (o.kind == Divergence::reverse_kl) return (q * (log_q - log_p)).sum(1);
  const Tensor log_m = (o.beta * q + (1 - o.beta) * p).log();
  return o.beta * (q * (log_q - log_m)).sum(1) + (1 - o.beta) * (p * (log_p - log_m)).sum(1);
}

class HeadDivergenceOf : public ::testing::TestWithParam<Dtype> {};

TEST_P(HeadDivergenceOf, EqualsItsDefinitionInValueAndGradient) {
  const auto [type, tolerance, gradient_tolerance] = GetParam();
  for (const HeadCase& c : kHeadCases) {
    const HeadTensors p(c, type, 0.5), q({c.m, c.d + 3, c.v}, type, 0.5);
    const Tensor upstream = at::randn({c.m}, at::kDouble);
    for (const auto kind :
         {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jensen_shannon})
      for (const LogitOptions& map : {kMaps[0], kMaps[3]}) {
        DivergenceOptions o{.kind = kind, .beta = 0.3};
        o.chunk_bytes = 2 * 50 * c.v * 8;
        const HeadSide p_side{p.hidden, p.weight, map}, q_side{q.hidden, q.weight, kMaps[1]};
        const HeadSide leaf{p.hidden.to(at::kDouble).requires_grad_(true),
                            p.weight.to(at::kDouble).requires_grad_(true), map};
        const Tensor want = defined(leaf, q_side, o);
        const auto slopes =
            torch::autograd::grad({(want * upstream).sum()}, {leaf.hidden, leaf.weight});
        EXPECT_TRUE(close(head_divergence(p_side, q_side, o), want, tolerance, 3e-6));
        Tensor dh = at::zeros_like(p.hidden);
        Tensor dw = at::zeros_like(p.weight, statistics_type(type));
        const Tensor got = head_divergence_backward(p_side, q_side, o, upstream, dh, dw);
        EXPECT_TRUE(close(got, want, tolerance, 3e-6));
        if (c.v == 1) continue;  // the gradient is 0
        EXPECT_LE(test::relative_distance(dh, slopes[0]), gradient_tolerance) << c.m << " " << c.v;
        EXPECT_LE(test::relative_distance(dw, slopes[1]), gradient_tolerance) << c.m << " " << c.v;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, HeadDivergenceOf,
                         ::testing::Values(Dtype{at::kDouble, 1e-11, 1e-10},
                                           Dtype{at::kFloat, 2e-5, 2e-5},
                                           Dtype{at::kBFloat16, 2e-5, 2e-2}),
                         [](const auto& param) { return c10::toString(param.param.type); });

TEST(HeadDivergence, IsZeroBetweenEqualsAndSaysWhatDoesNotFit) {
  const HeadTensors in({31, 6, 300}, at::kFloat), other({31, 6, 301}, at::kFloat);
  EXPECT_TRUE(close(head_divergence({in.hidden, in.weight}, {in.hidden, in.weight}, {}),
                    at::zeros({31}), 1e-6));
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              head_divergence({in.hidden, in.weight}, {other.hidden, other.weight}, {});
            }),
            "[head_divergence] both sides need the same rows, vocabulary and dtype; got f32 [31, "
            "6] @ f32 [300, 6] and f32 [31, 6] @ f32 [301, 6]");
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              head_divergence({in.hidden, in.weight}, {in.hidden, in.weight},
                              {.kind = Divergence::jensen_shannon, .beta = 1});
            }),
            "[head_divergence] beta must lie in (0, 1); got 1");
}

}  // namespace
}  // namespace luce
