// Against the closed forms of the coupled path: π ∝ ((1−ε)/2 e^u, (1−ε)/2, ε e^{2u}).
#include <gtest/gtest.h>

#include <cmath>

#include "luce/experiment/experiment.h"

namespace luce {
namespace {

constexpr double kBeta = 0.1, kEpsilon = 1e-6;

std::vector<double> policy(double u) {
  const double half = (1 - kEpsilon) / 2;
  const std::vector<double> weight{half * std::exp(u), half, kEpsilon * std::exp(2 * u)};
  const double sum = weight[0] + weight[1] + weight[2];
  return {weight[0] / sum, weight[1] / sum, weight[2] / sum};
}

const Json& figures() {
  static const Json f = find_experiment("three-actions").run({.quick = true}).figures;
  return f;
}

void expect_relative(double got, double want, double tolerance = 1e-9) {
  EXPECT_NEAR(got, want, tolerance * std::abs(want));
}

TEST(ThreeActions, FreeLogitsEndAtOneAndLeaveTheThirdAlone) {
  ASSERT_EQ(figures()["free"].size(), 5u);
  for (const Json& end : figures()["free"]) {
    const double epsilon = end["epsilon"], y1 = end["policy"][0], y2 = end["policy"][1],
                 y3 = end["policy"][2], gap = std::log(y1 / y2);
    EXPECT_NEAR(end["gradient_on_y3"], 0, 1e-25);
    expect_relative(y3 / y2, epsilon / ((1 - epsilon) / 2) * std::exp(gap / 2), 1e-8);
    expect_relative(end["loss"], std::log1p(std::exp(-end["beta"].get<double>() * gap)), 1e-6);
    EXPECT_LT(y3, epsilon);
    if (end["beta"] <= 1) {
      EXPECT_GT(y1, 1 - 1e-11);
    }
  }
}

TEST(ThreeActions, TheCoupledPathHasItsLandmarks) {
  const Json& mark = figures()["landmarks"];
  EXPECT_NEAR(mark["peak"], std::log((1 - kEpsilon) / (2 * kEpsilon)) / 2, 1e-6);
  EXPECT_NEAR(mark["nine"], std::log(9 * (1 - kEpsilon) / (2 * kEpsilon)), 1e-11);
  EXPECT_NEAR(policy(mark["half"])[2], 0.5, 1e-12);
  EXPECT_NEAR(mark["peak"], 6.5612, 5e-5);
  EXPECT_NEAR(mark["peak_y1"], 0.99718, 5e-6);
  EXPECT_NEAR(mark["nine"], 15.3196, 5e-5);
  EXPECT_NEAR(mark["nine_loss"], 0.19566, 5e-6);
  EXPECT_NEAR(policy(mark["nine"])[1], 2.2e-8, 5e-10);
}

TEST(ThreeActions, DescentFollowsTheClosedFormAndNeverStopsFalling) {
  double u = 0;
  int step = 0;
  for (const Json& point : figures()["coupled"]) {
    const double at = point["u"];
    const std::vector<double> p = policy(at);
    for (size_t y = 0; y < 3; ++y) expect_relative(point["policy"][y], p[y]);
    expect_relative(point["loss"], std::log1p(std::exp(-kBeta * at)));
    expect_relative(point["slope"], -kBeta / (1 + std::exp(kBeta * at)));
    for (; u < at; ++step) u += kBeta / (1 + std::exp(kBeta * u));
    EXPECT_EQ(point["steps"], step);
    expect_relative(point["free_y3"], kEpsilon / ((1 - kEpsilon) * std::cosh(at / 2) + kEpsilon));
  }
}

TEST(ThreeActions, ChartsShowThePath) {
  const Json& line = figures()["charts"]["The three probabilities on DPO's path"]["y3, never seen"];
  ASSERT_EQ(line["x"].size(), 51u);
  for (size_t i = 0; i < line["x"].size(); ++i)
    expect_relative(line["y"][i], policy(line["x"][i])[2]);
}

TEST(ThreeActions, ALinearRewardFailsLikeDpoAndATableDoesNot) {
  for (const Json& point : figures()["reward"]) {
    const double ratio = point["ratio"];
    expect_relative(point["p"], 1 / (1 + std::exp(-ratio * kBeta)));
    expect_relative(point["linear"], policy(ratio)[2], 1e-7);
    expect_relative(point["dpo"], policy(ratio)[2], 1e-7);
    expect_relative(point["table"], kEpsilon / ((1 - kEpsilon) * std::cosh(ratio / 2) + kEpsilon),
                    1e-7);
  }
  // ε e^c = (1 − ε) cosh(Δ/2β)
  EXPECT_NEAR(figures()["reward"][2]["unseen_start"],
              std::log((1 - kEpsilon) / kEpsilon * std::cosh(5)), 1e-9);
  const auto linear = [](size_t i) { return figures()["reward"][i]["linear"].get<double>(); };
  EXPECT_NEAR(linear(1), 0.0003, 5e-5);
  EXPECT_NEAR(linear(2), 0.042, 5e-4);
  EXPECT_NEAR(linear(4), 0.999, 5e-4);
}

TEST(ThreeActions, NoiseThatKeepsTheMassIsWhatTheThresholdSays) {
  for (const Json& point : figures()["sureness"]) {
    // ε x² = (1 − ε)/2 (x + 1) for x = e^u
    const double epsilon = point["epsilon"], h = (1 - epsilon) / 2;
    const double x = (h + std::sqrt(h * h + 4 * epsilon * h)) / (2 * epsilon);
    expect_relative(point["ratio"], std::log(x));
    expect_relative(point["noise"], 1 / (1 + std::pow(x, point["beta"].get<double>())), 1e-8);
  }
}

TEST(ThreeActions, OtherLossesStopWhereTheirSlopeIsZero) {
  const Json& minima = figures()["remedies"]["minima"];
  const auto u = [&](size_t i) { return minima[i]["u"].get<double>(); };
  ASSERT_EQ(minima.size(), 7u);
  EXPECT_NEAR(u(0), std::log(0.9 / 0.1) / kBeta, 1e-7);
  EXPECT_NEAR(u(1), std::log(0.7 / 0.3) / kBeta, 1e-7);
  EXPECT_NEAR(u(2), 1 / (2 * 0.1), 1e-9);
  EXPECT_NEAR(u(3), 1 / (2 * 0.03), 1e-9);
  // DPO's pull against that of −α log π(y₁): β σ(−βu) = α (π(y₁) + 2 π(y₃) − 1)
  const auto balance = [](double alpha, double at) {
    const std::vector<double> p = policy(at);
    return kBeta / (1 + std::exp(kBeta * at)) - alpha * (p[0] + 2 * p[2] - 1);
  };
  EXPECT_NEAR(balance(0.01, u(4)), 0, 1e-11);
  EXPECT_NEAR(balance(0.1, u(5)), 0, 1e-11);
  EXPECT_NEAR(balance(1, u(6)), 0, 1e-11);
  const Json& threshold = figures()["remedies"]["thresholds"];
  const double half = figures()["landmarks"]["half"];
  EXPECT_NEAR(balance(threshold["sft_weight"], half), 0, 1e-11);
  EXPECT_NEAR(threshold["ipo_beta"], 1 / (2 * half), 1e-11);
  EXPECT_NEAR(threshold["label_smoothing"], 1 / (1 + std::exp(kBeta * half)), 1e-11);
}

}  // namespace
}  // namespace luce
