// What a loss pulls at its answers with: ∇ℓ = −c⁺ ∇log π(y⁺) + c⁻ ∇log π(y⁻), against the closed
// forms of every loss, derived by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "loss/inputs.h"
#include "luce/base/error.h"
#include "luce/loss/alphapo.h"
#include "luce/loss/aot.h"
#include "luce/loss/aot_unpaired.h"
#include "luce/loss/apo_down.h"
#include "luce/loss/apo_zero.h"
#include "luce/loss/apo_zero_unpaired.h"
#include "luce/loss/bco.h"
#include "luce/loss/bco_pair.h"
#include "luce/loss/cpo.h"
#include "luce/loss/discopop.h"
#include "luce/loss/dpo.h"
#include "luce/loss/exo.h"
#include "luce/loss/generative.h"
#include "luce/loss/hinge.h"
#include "luce/loss/ipo.h"
#include "luce/loss/kto.h"
#include "luce/loss/nca.h"
#include "luce/loss/orpo.h"
#include "luce/loss/plackett_luce.h"
#include "luce/loss/psi.h"
#include "luce/loss/regression.h"
#include "luce/loss/robust.h"
#include "luce/loss/sigmoid_norm.h"
#include "luce/loss/simpo.h"
#include "luce/loss/slic.h"
#include "luce/loss/sppo.h"
#include "luce/loss/tpo.h"
#include "luce/loss/unlikelihood.h"
#include "support/support.h"

namespace luce {
namespace {

using std::exp;
using std::log;
using test::answer;
using test::close;
using test::f64;

double sigmoid(double x) { return 1 / (1 + exp(-x)); }
double log_sigmoid(double x) { return -std::log1p(exp(-x)); }

/// A pair: L log π(y), u log π(y) − log π_ref(y), n tokens; _w of the chosen, _l of the rejected
/// answer.
struct Point {
  double L_w, L_l, u_w, u_l, n_w, n_l;
  double gap() const { return u_w - u_l; }
  double mean_gap() const { return u_w / n_w - u_l / n_l; }
};

/// Log-ratios of both signs and sizes, with lengths from 1 to 6; none stands on a kink.
std::vector<Point> grid() {
  std::vector<Point> points;
  const std::vector<double> ratios{-9.3, -1.4, -0.3, 0, 0.85, 4.1};
  for (size_t i = 0; i < ratios.size(); ++i)
    for (size_t j = 0; j < ratios.size(); ++j) {
      const auto a = static_cast<double>(i), b = static_cast<double>(j);
      const double ref_w = -7.1 - 0.61 * a - 0.17 * b, ref_l = -6.3 - 0.23 * a * b;
      points.push_back({ref_w + ratios[i], ref_l + ratios[j], ratios[i], ratios[j], 1 + a,
                        static_cast<double>(1 + (i + 2 * j) % 5)});
    }
  return points;
}

/// The same as answers of equal tokens.
std::vector<test::Group> groups_of(const std::vector<Point>& points) {
  std::vector<test::Group> groups;
  for (const Point& p : points)
    groups.push_back({answer(Role::chosen, p.L_w, p.L_w - p.u_w, static_cast<size_t>(p.n_w)),
                      answer(Role::rejected, p.L_l, p.L_l - p.u_l, static_cast<size_t>(p.n_l))});
  return groups;
}

PairInputs pairs_of(const std::vector<Point>& points) {
  const auto column = [&](const auto& entry) {
    std::vector<double> values;
    for (const Point& p : points) values.push_back(entry(p));
    return f64(values);
  };
  PairInputs x;
  x.logps = {column([](const Point& p) { return p.L_w; }),
             column([](const Point& p) { return p.L_l; })};
  x.length = {column([](const Point& p) { return p.n_w; }),
              column([](const Point& p) { return p.n_l; })};
  const Pair<Tensor> u{column([](const Point& p) { return p.u_w; }),
                       column([](const Point& p) { return p.u_l; })};
  x.ref_logps = {x.logps.chosen - u.chosen, x.logps.rejected - u.rejected};
  x.mean_logps = {x.logps.chosen / x.length.chosen, x.logps.rejected / x.length.rejected};
  x.ref_mean_logps = {x.ref_logps->chosen / x.length.chosen,
                      x.ref_logps->rejected / x.length.rejected};
  return x;
}

struct Weights {
  double chosen, rejected;
};
using ClosedForm = std::function<Weights(const Point&)>;

/// A pull that is the same on both answers, or the same per token of each.
ClosedForm both(const std::function<double(const Point&)>& weight) {
  return [=](const Point& p) { return Weights{weight(p), weight(p)}; };
}
ClosedForm per_token(const std::function<double(const Point&)>& weight) {
  return [=](const Point& p) { return Weights{weight(p) / p.n_w, weight(p) / p.n_l}; };
}

/// The point that tokens in f32 stand for.
Point in_f32(const Point& p) {
  const auto sum = [](double value, double n) {
    const volatile float one = static_cast<float>(value / n);  // GCC 12 drops the rounding else
    return n * static_cast<double>(one);
  };
  const double L_w = sum(p.L_w, p.n_w), L_l = sum(p.L_l, p.n_l);
  return {L_w, L_l, L_w - sum(p.L_w - p.u_w, p.n_w), L_l - sum(p.L_l - p.u_l, p.n_l), p.n_w, p.n_l};
}

/// At every point of the grid, to 1e-10 in f64; and through operator() from tokens in f32, whose
/// gradient comes back in f32, to 1e-6.
void expect_weights(const PairLoss& loss, const ClosedForm& closed_form,
                    const PairModifiers& modifiers = {}) {
  const auto points = grid();
  std::vector<double> chosen, rejected, of_tokens;
  for (const Point& p : points) {
    const Weights exact = closed_form(p), rounded = closed_form(in_f32(p));
    chosen.push_back(exact.chosen);
    rejected.push_back(exact.rejected);
    of_tokens.insert(of_tokens.end(), static_cast<size_t>(p.n_w), -rounded.chosen);
    of_tokens.insert(of_tokens.end(), static_cast<size_t>(p.n_l), rounded.rejected);
  }
  PairInputs pairs = pairs_of(points);
  pairs.f = modifiers.f;
  const auto weights = gradient_weights(loss, pairs);
  EXPECT_TRUE(close(weights.chosen, f64(chosen), 1e-10, 1e-10));
  EXPECT_TRUE(close(weights.rejected, f64(rejected), 1e-10, 1e-10));

  const GroupInputs tokens = test::inputs_of(groups_of(points), at::kFloat);
  Metrics metrics;
  const Tensor gradient = test::gradient_of(loss(tokens, modifiers, metrics).at(0).value, tokens);
  EXPECT_EQ(gradient.scalar_type(), at::kFloat);
  EXPECT_TRUE(close(gradient, f64(of_tokens), 1e-6, 1e-6));
}

constexpr double kBeta = 0.7;

TEST(GradientWeights, OfDpoAreTheShareTheOtherAnswerStillHas) {
  expect_weights(Dpo({.beta = kBeta}),
                 both([](const Point& p) { return kBeta * (1 - sigmoid(kBeta * p.gap())); }));
}

TEST(GradientWeights, OfDpoWithLabelSmoothing) {
  constexpr double eps = 0.15;
  expect_weights(Dpo({.beta = kBeta, .label_smoothing = eps}),
                 both([](const Point& p) { return kBeta * (1 - sigmoid(kBeta * p.gap()) - eps); }));
}

TEST(GradientWeights, OfRobust) {
  constexpr double eps = 0.15;
  expect_weights(Robust({.beta = kBeta, .label_smoothing = eps}), both([](const Point& p) {
                   const double q = sigmoid(kBeta * p.gap());
                   return kBeta * ((1 - eps) * (1 - q) + eps * q) / (1 - 2 * eps);
                 }));
}

TEST(GradientWeights, OfHinge) {
  expect_weights(Hinge({.beta = kBeta}),
                 both([](const Point& p) { return kBeta * p.gap() < 1 ? kBeta : 0.0; }));
}

TEST(GradientWeights, OfIpoPerTokenAndInSums) {
  expect_weights(Ipo({.beta = kBeta}),
                 per_token([](const Point& p) { return -2 * (p.mean_gap() - 1 / (2 * kBeta)); }));
  expect_weights(Ipo({.beta = kBeta, .lengths = "sum"}),
                 both([](const Point& p) { return -2 * (p.gap() - 1 / (2 * kBeta)); }));
}

TEST(GradientWeights, OfExo) {
  constexpr double eps = 0.01;
  expect_weights(Exo({.beta = kBeta, .label_smoothing = eps}), both([](const Point& p) {
                   const double h = kBeta * p.gap(), q = sigmoid(h);
                   return kBeta * q * (1 - q) * (log((1 - eps) / eps) - h);
                 }));
}

TEST(GradientWeights, OfNca) {
  expect_weights(Nca({.beta = kBeta}), [](const Point& p) {
    return Weights{kBeta * (1 - 1.5 * sigmoid(kBeta * p.u_w)), kBeta / 2 * sigmoid(kBeta * p.u_l)};
  });
}

TEST(GradientWeights, OfBcoOnPairs) {
  expect_weights(BcoPair({.beta = kBeta}), [](const Point& p) {
    return Weights{kBeta * sigmoid(-kBeta * p.u_w), kBeta * sigmoid(kBeta * p.u_l)};
  });
}

TEST(GradientWeights, OfSppo) {
  expect_weights(Sppo({.beta = kBeta}), [](const Point& p) {
    return Weights{-2 * (p.u_w - 1 / (2 * kBeta)), 2 * (p.u_l + 1 / (2 * kBeta))};
  });
}

double slope(double x) { return sigmoid(x) * sigmoid(-x); }  // σ′

TEST(GradientWeights, OfApoZero) {
  expect_weights(ApoZero({.beta = kBeta}), [](const Point& p) {
    return Weights{kBeta * slope(kBeta * p.u_w), kBeta * slope(kBeta * p.u_l)};
  });
}

TEST(GradientWeights, OfApoDownCanLowerTheChosenAnswer) {
  expect_weights(ApoDown({.beta = kBeta}), [](const Point& p) {
    const double of_gap = slope(kBeta * p.gap());
    return Weights{kBeta * (of_gap - slope(kBeta * p.u_w)), kBeta * of_gap};
  });
}

TEST(GradientWeights, OfSlic) {
  expect_weights(Slic({.delta = 1.5}),
                 both([](const Point& p) { return p.L_w - p.L_l < 1.5 ? 1.0 : 0.0; }));
}

TEST(GradientWeights, OfSimpo) {
  constexpr double gamma = 0.5, eps = 0.1;
  const auto h = [](const Point& p) { return kBeta * (p.L_w / p.n_w - p.L_l / p.n_l) - gamma; };
  expect_weights(Simpo({.beta = kBeta, .gamma = gamma}),
                 per_token([=](const Point& p) { return kBeta * sigmoid(-h(p)); }));
  expect_weights(Simpo({.beta = kBeta, .gamma = gamma, .label_smoothing = eps}),
                 per_token([=](const Point& p) { return kBeta * (sigmoid(-h(p)) - eps); }));
}

TEST(GradientWeights, OfAlphaPo) {
  for (const double alpha : {0.25, -0.25}) {
    const AlphaPo loss({.beta = kBeta, .gamma = 0.5, .alpha = alpha});
    expect_weights(loss, [=](const Point& p) {
      const double m_w = p.L_w / p.n_w, m_l = p.L_l / p.n_l;
      const double h = kBeta * (exp(-alpha * m_l) - exp(-alpha * m_w)) / alpha - 0.5;
      const double weight = kBeta * sigmoid(-h);
      return Weights{weight * exp(-alpha * m_w) / p.n_w, weight * exp(-alpha * m_l) / p.n_l};
    });
  }
}

TEST(GradientWeights, OfCpoInEveryForm) {
  constexpr double eps = 0.1;
  expect_weights(Cpo({.beta = kBeta, .label_smoothing = eps}), both([](const Point& p) {
                   return kBeta * (sigmoid(-kBeta * (p.L_w - p.L_l)) - eps);
                 }));
  expect_weights(Cpo({.beta = kBeta, .form = "hinge"}),
                 both([](const Point& p) { return kBeta * (p.L_w - p.L_l) < 1 ? kBeta : 0.0; }));
  expect_weights(Cpo({.beta = kBeta, .form = "ipo"}), per_token([](const Point& p) {
                   return -2 * (p.L_w / p.n_w - p.L_l / p.n_l - 1 / (2 * kBeta));
                 }));
}

TEST(GradientWeights, OfTpoAreThoseOfCpoAndInItsLengthFormOfSimpo) {
  expect_weights(Tpo({.beta = kBeta}),
                 both([](const Point& p) { return kBeta * sigmoid(-kBeta * (p.L_w - p.L_l)); }));
  expect_weights(Tpo({.beta = kBeta, .gamma = 0.5, .form = "tpo-l"}), per_token([](const Point& p) {
                   return kBeta * sigmoid(0.5 - kBeta * (p.L_w / p.n_w - p.L_l / p.n_l));
                 }));
}

TEST(GradientWeights, OfOrpoWithoutItsLikelihood) {
  expect_weights(Orpo({.beta = kBeta}), [](const Point& p) {
    const double m_w = p.L_w / p.n_w, m_l = p.L_l / p.n_l;
    const double d = (m_w - log(1 - exp(m_w))) - (m_l - log(1 - exp(m_l)));
    const double weight = kBeta * sigmoid(-d);
    return Weights{weight / (p.n_w * (1 - exp(m_w))), weight / (p.n_l * (1 - exp(m_l)))};
  });
}

TEST(GradientWeights, OfGenerativePreference) {
  expect_weights(Generative(), both([](const Point& p) { return sigmoid(p.L_l - p.L_w); }));
}

TEST(GradientWeights, OfPsiInBothForms) {
  expect_weights(Psi({.tau = kBeta}),
                 both([](const Point& p) { return -2 * (p.gap() - 1 / (2 * kBeta)); }));
  expect_weights(Psi({.tau = kBeta, .psi = "logit"}),
                 both([](const Point& p) { return kBeta * (1 - sigmoid(kBeta * p.gap())); }));
}

TEST(GradientWeights, OfSigmoidNorm) {
  expect_weights(SigmoidNorm({.beta = kBeta}),
                 per_token([](const Point& p) { return kBeta * sigmoid(-kBeta * p.mean_gap()); }));
}

TEST(GradientWeights, OfDiscopop) {
  constexpr double tau = 0.4;
  expect_weights(Discopop({.beta = kBeta, .tau = tau}), both([](const Point& p) {
                   const double z = kBeta * p.gap(), g = sigmoid(z / tau);
                   return kBeta * ((1 - g) * sigmoid(-z) + g * exp(-z) -
                                   g * (1 - g) / tau * (exp(-z) + log_sigmoid(z)));
                 }));
}

TEST(GradientWeights, OfDpoUnderEveryFDivergence) {
  struct Case {
    FDivergence f;
    std::function<double(double)> score, score_slope;
  };
  const std::vector<Case> cases{
      {{"reverse_kl"}, [](double u) { return u; }, [](double) { return 1.0; }},
      {{"forward_kl"}, [](double u) { return 1 - exp(-u); }, [](double u) { return exp(-u); }},
      {{"js_divergence"},
       [](double u) { return log(2) + log_sigmoid(u); },
       [](double u) { return sigmoid(-u); }},
      {{"alpha_divergence", 0.3},
       [](double u) { return (1 - exp(-0.7 * u)) / 0.7; },
       [](double u) { return exp(-0.7 * u); }},
      {{"alpha_divergence", 1}, [](double u) { return u; }, [](double) { return 1.0; }},
      {{"alpha_divergence", 2},
       [](double u) { return exp(u) - 1; },
       [](double u) { return exp(u); }}};
  for (const Case& c : cases) {
    SCOPED_TRACE(cat(c.f.type, " ", c.f.alpha));
    const auto closed_form = [&](const Point& p) {
      const double gap = c.score(p.u_w) - c.score(p.u_l);
      const double weight = kBeta * sigmoid(-kBeta * gap);
      return Weights{weight * c.score_slope(p.u_w), weight * c.score_slope(p.u_l)};
    };
    expect_weights(Dpo({.beta = kBeta}), closed_form, {.f = c.f});
  }
}

/// Places of the values in ascending order.
std::vector<size_t> order_of(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  return order;
}

const std::vector<Point> kUnsorted{{-5, -4.1, 1.5, 2.0, 2, 3},
                                   {-9, -2.5, -2.1, 0.3, 1, 1},
                                   {-3.2, -6, 0.6, 1.9, 4, 2},
                                   {-7.5, -7.1, -0.9, -3.2, 3, 5}};
constexpr double kEps = 0.1;

TEST(GradientWeights, OfAotGoToTheRowThatOwnsTheSortedMargin) {
  std::vector<double> policy, reference, want(kUnsorted.size());
  for (const Point& p : kUnsorted) {
    policy.push_back(p.L_w - p.L_l);
    reference.push_back(p.L_w - p.L_l - p.gap());
  }
  const auto of_policy = order_of(policy), of_reference = order_of(reference);
  EXPECT_NE(of_policy, of_reference);
  for (size_t k = 0; k < want.size(); ++k) {
    const double d = policy[of_policy[k]] - reference[of_reference[k]];
    want[of_policy[k]] = kBeta * (sigmoid(-kBeta * d) - kEps);
  }
  const auto weights =
      gradient_weights(Aot({.beta = kBeta, .label_smoothing = kEps}), pairs_of(kUnsorted));
  EXPECT_TRUE(close(weights.chosen, f64(want), 1e-12));
  EXPECT_TRUE(close(weights.rejected, f64(want), 1e-12));
}

TEST(GradientWeights, OfAotUnpairedGoToTheAnswersThatOwnTheSortedLogRatios) {
  std::vector<double> u_w, u_l, chosen(kUnsorted.size()), rejected(kUnsorted.size());
  for (const Point& p : kUnsorted) {
    u_w.push_back(p.u_w);
    u_l.push_back(p.u_l);
  }
  const auto of_w = order_of(u_w), of_l = order_of(u_l);
  EXPECT_NE(of_w, of_l);
  for (size_t k = 0; k < chosen.size(); ++k) {
    const double d = u_w[of_w[k]] - u_l[of_l[k]];
    chosen[of_w[k]] = rejected[of_l[k]] = kBeta * (sigmoid(-kBeta * d) - kEps);
  }
  const auto weights =
      gradient_weights(AotUnpaired({.beta = kBeta, .label_smoothing = kEps}), pairs_of(kUnsorted));
  EXPECT_TRUE(close(weights.chosen, f64(chosen), 1e-12));
  EXPECT_TRUE(close(weights.rejected, f64(rejected), 1e-12));
}

/// The gradient of the values of a loss, added up, in the log-prob of each answer of the grid as
/// chosen and rejected; answers have one token each, and the step's mismatched ones come last.
void expect_unpaired(const SequenceLoss& loss, const std::vector<double>& mismatched_ratios,
                     const std::function<double(double u, bool desirable)>& closed_form) {
  std::vector<test::Group> groups;
  std::vector<double> want;
  for (const Point& p : grid()) {
    groups.push_back(
        {answer(Role::chosen, p.L_w, p.L_w - p.u_w), answer(Role::rejected, p.L_l, p.L_l - p.u_l)});
    want.push_back(closed_form(p.u_w, true));
    want.push_back(closed_form(p.u_l, false));
  }
  for (const double u : mismatched_ratios) {
    groups.back().push_back(answer(Role::mismatched, u - 20, -20));
    want.push_back(0);
  }
  const GroupInputs x = test::inputs_of(groups);
  EXPECT_TRUE(close(test::gradient_of(test::values_of(loss, x), x), f64(want), 1e-12));
}

TEST(GradientWeights, OfKtoAreLargestWhereTheRewardIsTheShift) {
  constexpr double z0 = (2.5 + 1.5 - 1) / 3;
  expect_unpaired(Kto({.beta = kBeta, .desirable_weight = 1.25, .undesirable_weight = 0.75}),
                  {2.5, 1.5, -1}, [](double u, bool desirable) {
                    return (desirable ? -1.25 : 0.75) * kBeta * slope(kBeta * (u - z0));
                  });
}

TEST(GradientWeights, OfApoZeroUnpaired) {
  const ApoZeroUnpaired loss({.beta = kBeta, .desirable_weight = 1.25, .undesirable_weight = 0.75});
  expect_unpaired(loss, {}, [](double u, bool desirable) {
    return (desirable ? -1.25 : 0.75) * kBeta * slope(kBeta * u);
  });
}

TEST(GradientWeights, OfBcoAreShiftedByTheRunningMean) {
  Bco loss({.beta = kBeta});
  loss.load_state({{"delta", 0.8}, {"rewards", 10}});
  expect_unpaired(loss, {}, [](double u, bool desirable) {
    const double shifted = kBeta * u - 0.8;
    return desirable ? -kBeta * sigmoid(-shifted) : kBeta * sigmoid(shifted);
  });
}

/// A group of ranked answers of one token each, in any order, with their scores.
GroupInputs ranked(const std::vector<double>& u, const std::vector<double>& score) {
  test::Group group;
  for (const double ratio : u) group.push_back(answer(Role::ranked, ratio - 8, -8));
  GroupInputs x = test::inputs_of({group});
  x.columns.score = score;
  return x;
}

TEST(GradientWeights, OfPlackettLuceAreSharesInTheDenominatorsThatHoldTheAnswer) {
  const std::vector<double> u{0.3, -1.2, 2.0, 0.9}, score{2, 4, 1, 3};  // best: 1, 3, 0, 2
  const GroupInputs x = ranked(u, score);
  const std::vector<size_t> best_first{1, 3, 0, 2};
  std::vector<double> want(4);
  for (size_t k = 0; k < 4; ++k) {
    double shares = 0;
    for (size_t i = 0; i <= k; ++i) {
      double denominator = 0;
      for (size_t j = i; j < 4; ++j) denominator += exp(kBeta * u[best_first[j]]);
      shares += exp(kBeta * u[best_first[k]]) / denominator;
    }
    want[best_first[k]] = -kBeta * (1 - shares);
  }
  const Tensor value = test::values_of(PlackettLuce({.beta = kBeta}), x);
  EXPECT_TRUE(close(test::gradient_of(value, x), f64(want), 1e-12));
}

TEST(GradientWeights, OfRegressionAreTheErrors) {
  const std::vector<double> u{0.3, -1.2, 2.0}, score{0.5, -1.5, 0.4};
  const GroupInputs x = ranked(u, score);
  const double mean_u = (0.3 - 1.2 + 2.0) / 3, mean_z = (0.5 - 1.5 + 0.4) / 3;
  std::vector<double> want;
  for (size_t k = 0; k < 3; ++k)
    want.push_back(2 * kBeta / 3 * (kBeta * (u[k] - mean_u) - (score[k] - mean_z)));
  const Tensor value = test::values_of(Regression({.beta = kBeta}), x);
  EXPECT_TRUE(close(test::gradient_of(value, x), f64(want), 1e-12));
}

/// The terms of a loss by themselves: not divided, with their weights.
Tensor weighted_sum(const SequenceLoss& loss, const GroupInputs& x) {
  Metrics metrics;
  Tensor total = at::zeros({}, at::kDouble);
  for (const Term& term : loss(x, metrics)) total = total + term.weight * term.value.sum();
  return total;
}

const test::Group kUnlikely{{Role::chosen, {-0.4, -2.5}},
                            {Role::rejected, {-0.01, -0.7, -3, -25, -1e-6}}};

TEST(GradientWeights, OfUnlikelihoodInSequencesAreOddsOfTheTokensAboveTheFloor) {
  const GroupInputs x = test::inputs_of({kUnlikely});
  const auto odds = [](double logp) { return 0.5 * exp(logp) / (1 - exp(logp)); };
  const Unlikelihood loss({.form = "sequence", .alpha = 0.5});
  // log(1 − p) of the last token is −13.8, below the floor.
  EXPECT_TRUE(close(test::gradient_of(weighted_sum(loss, x), x),
                    f64({-1, -1, odds(-0.01), odds(-0.7), odds(-3), odds(-25), 0}), 1e-12, 1e-9));
}

TEST(GradientWeights, OfUnlikelihoodInItsPlainFormAreOneAboveTheFloor) {
  const GroupInputs x = test::inputs_of({kUnlikely});
  const Unlikelihood loss({.form = "plain", .alpha = 0.5, .floor = -10});
  EXPECT_TRUE(
      close(test::gradient_of(weighted_sum(loss, x), x), f64({-1, -1, 0.5, 0.5, 0.5, 0, 0.5}), 0));
}

TEST(GradientWeights, OfUnlikelihoodOnTokensAreOddsOfTheCandidates) {
  GroupInputs x = test::inputs_of({{{Role::chosen, {-0.4, -2.5}}}});
  const Tensor candidates = f64({-0.05, -1.7, -4}).requires_grad_(true);
  x.candidates = CandidateValues{candidates, {0, 1, 3}};
  const auto odds = [](double logp) { return 0.5 * exp(logp) / (1 - exp(logp)); };
  const Tensor value = weighted_sum(Unlikelihood({.form = "token", .alpha = 0.5}), x);
  EXPECT_TRUE(
      close(test::gradient_of(value, candidates), f64({odds(-0.05), odds(-1.7), odds(-4)}), 1e-12));
  EXPECT_TRUE(close(test::gradient_of(value, x), f64({-1, -1}), 0));
}

}  // namespace
}  // namespace luce
