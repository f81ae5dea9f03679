#include "luce/rl/surrogate.h"

#include <cmath>

#include "luce/base/error.h"
#include "rl/rollouts.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;
using test::f64;
using test::message_of;
using test::Numbers;

/// Tokens with these log-ratios to a policy whose log-probs are −1.
PolicyInputs inputs_of(const Numbers& log_ratios, const Numbers& advantages,
                       const std::vector<int64_t>& offset) {
  PolicyInputs x;
  x.old_logps = at::full({static_cast<int64_t>(log_ratios.size())}, -1.0, at::kDouble);
  x.logps = {(f64(log_ratios) + x.old_logps).requires_grad_(true), offset};
  x.advantages = f64(advantages);
  return x;
}

/// One completion of one token a ratio.
PolicyInputs tokens_of(const Numbers& ratios, double advantage) {
  Numbers logs;
  std::vector<int64_t> offset = {0};
  for (const double r : ratios) {
    logs.push_back(std::log(r));
    offset.push_back(offset.back() + 1);
  }
  return inputs_of(logs, Numbers(ratios.size(), advantage), offset);
}

Tensor loss_of(const PolicyInputs& x, const SurrogateOptions& o) {
  Metrics metrics;
  return surrogate_loss(x, o, metrics);
}

/// ∂(−loss)/∂r of each token: what the surrogate adds for a larger ratio.
Numbers slopes(const SurrogateOptions& o, double advantage,
               const Numbers& ratios = {0.7, 1.0, 1.3}) {
  const PolicyInputs x = tokens_of(ratios, advantage);
  return test::numbers_of(-oracle::gradient(loss_of(x, o).sum(), x.logps.values) / f64(ratios));
}

void expect(const Numbers& got, const Numbers& want) {
  EXPECT_TRUE(close(f64(got), f64(want), 1e-12));
}

TEST(Surrogate, ClipsTheRatioWhereThatWouldGainMore) {
  SurrogateOptions o;
  expect(slopes(o, 2), {2, 2, 0});
  expect(slopes(o, -2), {0, -2, -2});
  expect(slopes(o, 0), {0, 0, 0});
  o.epsilon_high = 0.4;
  expect(slopes(o, 2), {2, 2, 2});
  expect(slopes(o, 2, {1.39, 1.41}), {2, 0});
  o.clip = "low";
  expect(slopes(o, 2, {0.5, 3}), {2, 2});
  expect(slopes(o, -2, {0.5, 3}), {0, -2});
  o.clip = "high";
  expect(slopes(o, 2, {0.5, 3}), {2, 0});
  expect(slopes(o, -2, {0.5, 3}), {-2, -2});
  o.clip = "off";
  expect(slopes(o, 2, {0.5, 3}), {2, 2});
  expect(slopes(o, -2, {0.5, 3}), {-2, -2});
}

TEST(Surrogate, BoundsWhatABadTokenCosts) {
  SurrogateOptions o;
  o.delta = 4;
  expect(slopes(o, -2, {3.9, 4.1}), {-2, 0});
  expect(test::numbers_of(loss_of(tokens_of({0.5, 3, 9}, -2), o)), {1.6, 6, 8});
  o.clip = "low";  // without an upper clip it bounds good tokens too
  expect(slopes(o, 2, {3.9, 4.1}), {2, 0});
  o = {};
  o.dual_clip = 3;
  expect(slopes(o, -2, {2.9, 3.1}), {-2, 0});
  expect(test::numbers_of(loss_of(tokens_of({0.5, 2, 9}, -2), o)), {1.6, 4, 6});
  expect(test::numbers_of(loss_of(tokens_of({0.5, 1.1, 9}, 2), o)), {-1, -2.2, -2.4});
}

TEST(Surrogate, OfEachKindHasItsFormula) {
  // One completion of two tokens, d = (.2, −.6): Σ = −.4, mean −.2; advantages 2 and −1.
  const Numbers d = {0.2, -0.6}, a = {2, -1};
  const PolicyInputs x = inputs_of(d, a, {0, 2});
  const auto values = [&](const std::string& kind, const std::string& level = "token") {
    SurrogateOptions o;
    o.surrogate = kind;
    o.importance_sampling_level = level;
    o.epsilon = 0.25;
    return test::numbers_of(loss_of(x, o));
  };
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const double r0 = std::exp(0.2), r1 = std::exp(-0.6), s = std::exp(-0.2), w = std::exp(-0.4);
  expect(values("clip"), {-2 * r0, 0.75});
  expect(values("clip", "sequence"), {-2 * s, s});
  expect(values("clip", "sequence_token"), {-2 * s, s});
  expect(values("clip", "completion"), {-2 * w, 0.75});
  expect(values("cispo"), {-2 * r0 * -0.8, 0.75 * -1.6});
  expect(values("reinforce"), {1.6, -1.6});
  expect(values("sapo"), {-2 * sigmoid(r0 - 1) * 4, sigmoid(1.05 * (r1 - 1)) * 4 / 1.05});
  // d clipped where A d would grow: min(.2, .25), max(−.6, −.25).
  expect(values("gmpo"), {-2 * std::exp(-0.025), std::exp(-0.025)});
  const double good = w * w * std::exp(3 * (1 - w)), bad = w * w * w * std::exp(2 * (1 - w));
  expect(values("vespo"), {-2 * good * -0.8, bad * -1.6});
}

/// Surrogates that are functions of the log-probs, of which nothing is held constant.
TEST(Surrogate, HasTheGradientOfItsValue) {
  const Numbers d = {0.1, -0.15, 0.05, 0.3, -0.4}, a = {1.5, 1.5, -0.7, -0.7, -0.7},
                w = {0.25, 0.25, 0.2, 0.2, 0.2};
  const std::vector<int64_t> offset = {0, 2, 5};
  const auto error = [&](const SurrogateOptions& o) {
    const auto total = [&](const Tensor& logps) {
      PolicyInputs x = inputs_of(d, a, offset);
      x.logps.values = logps;
      return (loss_of(x, o) * f64(w)).sum();
    };
    const Tensor at = inputs_of(d, a, offset).logps.values;
    return test::gradient_error([&](const Tensor& l) { return total(l).item<double>(); },
                                at.detach(), oracle::gradient(total(at), at));
  };
  for (const char* level : {"token", "sequence", "completion"}) {
    SurrogateOptions o;
    o.importance_sampling_level = level;
    EXPECT_LT(error(o), 1e-8) << level;
    o.surrogate = "sapo";
    EXPECT_LT(error(o), 1e-8) << level;
  }
  SurrogateOptions o;
  o.surrogate = "gmpo";
  EXPECT_LT(error(o), 1e-8);
}

TEST(Surrogate, OfTokenRatiosIsTheSameInPartsAsInOne) {
  const Numbers d = {0.1, -0.5, 0.05, 0.3, -0.4}, a = {1, -2, 0.5, 1.5, -1};
  for (const char* kind : {"clip", "cispo", "sapo", "reinforce"}) {
    SurrogateOptions o;
    o.surrogate = kind;
    EXPECT_EQ(o.couples(), Coupling::token);
    const Tensor whole = loss_of(inputs_of(d, a, {0, 5}), o);
    const Tensor first = loss_of(inputs_of({0.1, -0.5}, {1, -2}, {0, 2}), o),
                 rest = loss_of(inputs_of({0.05, 0.3, -0.4}, {0.5, 1.5, -1}, {0, 3}), o);
    EXPECT_TRUE(close(at::cat({first, rest}), whole, 0)) << kind;
  }
}

TEST(Surrogate, StaysFiniteFarFromThePolicyThatSampled) {
  const Numbers a = {2, -1, -1};
  for (const double far : {-800.0, 800.0})
    for (const char* kind : {"clip", "cispo", "sapo", "gmpo", "vespo"})
      for (const char* level : {"token", "sequence", "sequence_token", "completion"}) {
        SurrogateOptions o;
        o.surrogate = kind;
        o.clip = "off";
        const std::string name = kind;
        if (name != "gmpo" && name != "vespo") o.importance_sampling_level = level;
        const PolicyInputs x = inputs_of({far, 0, far}, a, {0, 1, 3});
        const Tensor loss = loss_of(x, o);
        EXPECT_TRUE(loss.isfinite().all().item<bool>()) << kind << level << far;
        EXPECT_TRUE(oracle::gradient(loss.sum(), x.logps.values).isfinite().all().item<bool>())
            << kind << level << far;
      }
}

TEST(Surrogate, CountsClippedTokensAndLeavesOutThoseOfWeightNothing) {
  PolicyInputs x =
      inputs_of({0.5, 0.5, -0.5, 0, 0.9, -0.9}, {1, -1, -1, 1, 1, -1}, {0, 2, 4, 5, 6});
  x.weights = f64({1, 1, 1, 1, 1, 0});
  Metrics m;
  surrogate_loss(x, {}, m);
  EXPECT_DOUBLE_EQ(m.sum("clip_ratio/low_mean"), 1);
  EXPECT_DOUBLE_EQ(m.count("clip_ratio/low_mean"), 5);
  EXPECT_DOUBLE_EQ(m.sum("clip_ratio/high_mean"), 2);
  EXPECT_DOUBLE_EQ(m.sum("clip_ratio/region_mean"), 3);
  EXPECT_DOUBLE_EQ(m.mean("clip_ratio/low_min"), 0);
  EXPECT_DOUBLE_EQ(m.mean("clip_ratio/high_max"), 1);
  EXPECT_DOUBLE_EQ(m.mean("policy/clipfrac_avg"), 0.6);
  EXPECT_NEAR(m.mean("policy/approxkl_avg"), (3 * 0.25 + 0.81) / 10, 1e-15);
  EXPECT_NEAR(m.mean("val/ratio"), (2 * std::exp(0.5) + std::exp(-0.5) + 1 + std::exp(0.9)) / 5,
              1e-15);
  // A ratio of completions is one for each: e^.5, e^−.25, e^.9.
  SurrogateOptions o;
  o.importance_sampling_level = "sequence";
  Metrics of_sequences;
  surrogate_loss(x, o, of_sequences);
  EXPECT_DOUBLE_EQ(of_sequences.count("clip_ratio/high_mean"), 3);
  EXPECT_DOUBLE_EQ(of_sequences.sum("clip_ratio/high_mean"), 2);
  EXPECT_NEAR(of_sequences.sum("val/ratio"), std::exp(0.5) + std::exp(-0.25) + std::exp(0.9),
              1e-12);
}

TEST(Surrogate, RefusesOptionsThatContradictEachOther) {
  const auto refused = [](auto change) {
    SurrogateOptions o;
    change(o);
    return message_of<ArgumentError>([&] { check(o); });
  };
  const auto sapo = [](SurrogateOptions& o) { o.surrogate = "sapo"; };
  EXPECT_EQ(refused([&](auto& o) { sapo(o), o.delta = 4; }),
            "delta belongs to the surrogate \"clip\", not to \"sapo\"");
  EXPECT_EQ(refused([&](auto& o) { sapo(o), o.dual_clip = 4; }),
            "dual_clip belongs to the surrogate \"clip\", not to \"sapo\"");
  EXPECT_EQ(refused([](auto& o) { o.delta = 4, o.dual_clip = 4; }),
            "delta and dual_clip both bound what a bad token may cost: choose one");
  EXPECT_EQ(refused([](auto& o) { o.delta = 1.1; }),
            "delta (1.1) must be above 1 + epsilon_high (1.2), or no ratio ever reaches the clip");
  EXPECT_EQ(
      refused([](auto& o) { o.surrogate = "gmpo", o.importance_sampling_level = "sequence"; }),
      "importance_sampling_level \"sequence\" does nothing: the surrogate \"gmpo\" has a "
      "ratio of its own; set it to \"token\"");
  EXPECT_EQ(refused([](auto& o) {
              o.surrogate = "reinforce", o.importance_sampling_level = "completion";
            }),
            "importance_sampling_level \"completion\" does nothing: the surrogate \"reinforce\" "
            "has no ratio; set it to \"token\"");
  EXPECT_EQ(message_of<ArgumentError>([] {
              const PolicyInputs x = inputs_of({0}, {1}, {0, 1});
              importance_ratio(x.logps, x.old_logps, "word");
            }),
            "[importance_ratio] unknown level \"word\"");
}

TEST(ValueLoss, IsTheLargerOfClippedAndUnclippedSquares) {
  ValueInputs x{f64({1, 1, 1, 0.5}).requires_grad_(true), f64({0, 0, 0.9, 0}), f64({2, 0.5, 3, 9}),
                f64({1, 1, 1, 0})};
  Metrics m;
  // Held within ±.2 of the old: .2, .2, 1, …
  const Tensor loss = clipped_value_loss(x, 0.2, m);
  EXPECT_TRUE(close(loss.slice(0, 0, 3), f64({1.62, 0.125, 2}), 1e-12));
  EXPECT_TRUE(
      close(oracle::gradient(loss.slice(0, 0, 2).sum(), x.values), f64({0, 0.5, 0, 0}), 1e-12));
  EXPECT_NEAR(m.mean("loss/value_avg"), (1.62 + 0.125 + 2) / 3, 1e-12);
  EXPECT_NEAR(m.mean("val/clipfrac_avg"), 1.0 / 3, 1e-12);
  Metrics plain;
  EXPECT_TRUE(close(clipped_value_loss(x, 0, plain).slice(0, 0, 3), f64({0.5, 0.125, 2}), 1e-12));
  EXPECT_FALSE(plain.has("val/clipfrac_avg"));
}

}  // namespace
}  // namespace luce
