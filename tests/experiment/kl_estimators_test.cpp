// Against loops over all answers of three tokens out of three, with scores written out.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>

#include "experiment/text.h"
#include "luce/experiment/experiment.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

const Json& figures() {
  static const Json f = find_experiment("kl-estimators").run({.quick = true, .seed = 1}).figures;
  return f;
}

using Vector = std::array<double, 39>;  // of parameters: 13 prefixes, 3 tokens

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// An answer: its probability, log-ratios, and scores of its tokens.
struct Answer {
  double p = 1;
  std::array<double, 3> d;
  std::array<Vector, 3> score;
  double sum() const { return d[0] + d[1] + d[2]; }
};

std::vector<Answer> answers(double distance) {
  const Tensor ref = at::log_softmax(oracle::normal({13, 3}, 1), 1);
  const Tensor policy =
      at::log_softmax(oracle::normal({13, 3}, 1) + distance * oracle::normal({13, 3}, 1001), 1);
  const auto log_p = policy.accessor<double, 2>(), log_q = ref.accessor<double, 2>();
  std::vector<Answer> all;
  for (int code = 0; code < 27; ++code) {
    const std::array<int, 3> token{code / 9, code / 3 % 3, code % 3};
    // Prefixes in order: none, three of one token, nine of two.
    const std::array<int, 3> prefix{0, 1 + token[0], 4 + 3 * token[0] + token[1]};
    Answer answer;
    for (size_t t = 0; t < 3; ++t) {
      const double l = log_p[prefix[t]][token[t]];
      answer.p *= std::exp(l);
      answer.d[t] = l - log_q[prefix[t]][token[t]];
      answer.score[t].fill(0);
      for (int v = 0; v < 3; ++v)
        answer.score[t][static_cast<size_t>(3 * prefix[t] + v)] =
            (v == token[t] ? 1 : 0) - std::exp(log_p[prefix[t]][v]);
    }
    all.push_back(answer);
  }
  return all;
}

using Scalar = std::function<double(double)>;
const std::array<Scalar, 3> kValue{[](double d) { return d; }, [](double d) { return d * d / 2; },
                                   [](double d) { return std::exp(-d) + d - 1; }};
const std::array<Scalar, 3> kSlope{[](double) { return 1.0; }, [](double d) { return d; },
                                   [](double d) { return 1 - std::exp(-d); }};

void expect_relative(double got, double want, double tolerance = 1e-10) {
  EXPECT_NEAR(got, want, tolerance * std::abs(want));
}

TEST(KlEstimators, HaveTheMeansAndVariancesOfLoops) {
  const auto expect = [&](const Json& point, const std::function<double(const Answer&)>& estimate) {
    double kl = 0, mean = 0, square = 0;
    for (const Answer& y : answers(point["distance"])) {
      kl += y.p * y.sum();
      mean += y.p * estimate(y);
      square += y.p * estimate(y) * estimate(y);
    }
    expect_relative(point["kl"], kl);
    expect_relative(point["mean"], mean);
    expect_relative(point["variance"], square - mean * mean, 1e-8);
    const std::string name = point["estimator"];
    if (name[1] != '2') expect_relative(mean, kl);  // only k2 is biased
  };
  ASSERT_EQ(figures()["values"].size(), 18u);
  for (size_t i = 0; i < 9; ++i) {
    const Scalar& k = kValue[i / 3];
    expect(figures()["values"][i],
           [&](const Answer& y) { return k(y.d[0]) + k(y.d[1]) + k(y.d[2]); });
  }
  for (size_t i = 9; i < 15; ++i) {
    const Scalar& k = kValue[i / 3 - 2];
    expect(figures()["values"][i], [&](const Answer& y) { return k(y.sum()); });
  }
}

TEST(KlEstimators, ExactSumsHaveTheSameMeanAndLessVariance) {
  for (size_t i = 0; i < 3; ++i) {
    const Json &sampled = figures()["values"][i], &exact = figures()["values"][15 + i];
    EXPECT_EQ(exact["estimator"], "exact KL per token");
    expect_relative(exact["mean"], sampled["kl"]);
    EXPECT_LT(exact["variance"], 0.3 * sampled["variance"].get<double>());
  }
}

/// ∇KL = E[D Σ s_t], and bias and variance of an estimate of it.
struct Spread {
  double bias = 0, variance = 0;

  explicit Spread(const std::function<Vector(const Answer&)>& estimate) {
    Vector right{}, mean{};
    const auto all = answers(0.5);
    for (const Answer& y : all) {
      const Vector g = estimate(y);
      for (size_t i = 0; i < 39; ++i) {
        right[i] += y.p * y.sum() * (y.score[0][i] + y.score[1][i] + y.score[2][i]);
        mean[i] += y.p * g[i];
      }
    }
    const auto less = [](Vector a, const Vector& b) {
      for (size_t i = 0; i < 39; ++i) a[i] -= b[i];
      return a;
    };
    const double size = dot(right, right);
    bias = std::sqrt(dot(less(mean, right), less(mean, right)) / size);
    for (const Answer& y : all) {
      const Vector off = less(estimate(y), mean);
      variance += y.p * dot(off, off) / size;
    }
  }
};

TEST(KlEstimators, HaveTheGradientsOfLoops) {
  const Json& all = figures()["gradients"];
  for (size_t i = 0; i < 3; ++i) {  // k1, k2, k3 with their own gradients
    const Scalar& slope = kSlope[i];
    const auto weighted = [](const Answer& y, const std::array<double, 3>& w) {
      Vector g{};
      for (size_t t = 0; t < 3; ++t)
        for (size_t j = 0; j < 39; ++j) g[j] += w[t] * y.score[t][j];
      return g;
    };
    const Spread token([&](const Answer& y) {
      return weighted(y, {slope(y.d[0]), slope(y.d[1]), slope(y.d[2])});
    });
    const Spread sequence([&](const Answer& y) {
      const double w = slope(y.sum());
      return weighted(y, {w, w, w});
    });
    EXPECT_NEAR(all[i]["token"]["bias"], token.bias, 1e-10);
    EXPECT_NEAR(all[i]["sequence"]["bias"], sequence.bias, 1e-10);
    expect_relative(all[i]["token"]["variance"], token.variance);
    expect_relative(all[i]["sequence"]["variance"], sequence.variance);
  }
}

TEST(KlEstimators, SeveralAreK2InDisguise) {
  const Json& all = figures()["gradients"];
  for (const std::string level : {"token", "sequence"}) {
    for (const size_t same : {size_t{3}, size_t{6}}) {  // straight-through, bias-corrected k3
      EXPECT_NEAR(all[same][level]["bias"], all[1][level]["bias"].get<double>(), 1e-12);
      expect_relative(all[same][level]["variance"], all[1][level]["variance"]);
    }
    EXPECT_NEAR(all[4][level]["bias"], all[1][level]["bias"].get<double>(), 1e-12);
    EXPECT_GT(all[4][level]["variance"], 2 * all[1][level]["variance"].get<double>());
  }
  EXPECT_NEAR(all[0]["sequence"]["bias"], 1, 1e-12);  // k1's own gradient is 0 in the mean
  EXPECT_NEAR(all[1]["sequence"]["bias"], 0, 1e-12);
  EXPECT_GT(all[1]["token"]["bias"], 0.1);
  EXPECT_NEAR(all[7]["token"]["bias"], all[1]["token"]["bias"].get<double>(), 1e-12);
  EXPECT_LT(all[7]["token"]["variance"], all[1]["token"]["variance"]);
}

TEST(KlEstimators, BiasedGradientsBelongToOtherDivergences) {
  for (const Json& point : figures()["meaning"]) {
    EXPECT_GT(point["k3_sequence"], 0.05);
    EXPECT_NEAR(point["k3_sequence_reversed"], 0, 1e-11);
    EXPECT_GT(point["k2_token"], 0.01);
    EXPECT_NEAR(point["k2_token_prefixes_held"], 0, 1e-11);
  }
}

TEST(KlEstimators, TheTreeIsThatOfTheIdentity) {
  const Json& tree = figures()["identity_34"];
  const auto text = [&](const char* name) { return number(tree[name].get<double>(), 3); };
  EXPECT_EQ(oracle::identities()[33].check().figure,
            "KL " + text("kl") + ", variance " + text("k1_variance") + " of sampled log-ratios, " +
                text("exact_variance") + " of exact sums");
}

}  // namespace
}  // namespace luce
