// Against closed forms for two answers: π(y₂) = σ(−u).
#include <gtest/gtest.h>

#include <cmath>

#include "luce/experiment/experiment.h"

namespace luce {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double logit(double p) { return std::log(p / (1 - p)); }

const Json& figures() {
  static const Json f = find_experiment("deterministic-preferences").run({.quick = true}).figures;
  return f;
}

void expect_relative(double got, double want, double tolerance = 1e-7) {
  EXPECT_NEAR(got, want, tolerance * std::abs(want));
}

TEST(DeterministicPreferences, DpoEndsAtZeroAndIpoDoesNot) {
  const Json& descent = figures()["descent"];
  EXPECT_NEAR(descent["largest_gradient_difference"], 0, 1e-13);
  const auto last = [&](size_t i) { return descent["methods"][i]["y2"].back().get<double>(); };
  ASSERT_EQ(descent["methods"].size(), 9u);
  expect_relative(last(0), 1.2e-23, 0.05);
  expect_relative(last(1), 5.0e-5, 0.01);
  expect_relative(last(2), 0.19, 0.03);
  expect_relative(1 - last(3), 0.622459, 1e-6);
  expect_relative(1 - last(4), 0.731059, 1e-6);
  expect_relative(1 - last(5), 0.993307, 1e-6);
  // A reward model's gap Δ is that of DPO at β = 1; the optimum has Δ/β.
  const double gap = logit(1 - last(1));
  expect_relative(last(6), sigmoid(-gap / 0.1), 1e-6);
  expect_relative(last(7), last(1));
  expect_relative(last(8), sigmoid(-gap / 10));
}

TEST(DeterministicPreferences, SmoothingAndPenaltiesStopInClosedForm) {
  const std::vector<double> strength{0.1, 1, 10};
  const Json& stops = figures()["stops"];
  ASSERT_EQ(stops.size(), 5u);
  for (size_t i = 0; i < 3; ++i) {
    expect_relative(stops[0]["y2"][i], sigmoid(-logit(0.99) / strength[i]));
    expect_relative(stops[1]["y2"][i], sigmoid(-logit(0.9) / strength[i]));
    for (const auto& [row, lambda] : {std::pair{size_t{2}, 0.01}, {size_t{3}, 0.1}}) {
      const double gap = -logit(stops[row]["y2"][i]) * strength[i];
      expect_relative(sigmoid(-gap), lambda * gap, 1e-6);
    }
    expect_relative(stops[4]["y2"][i], sigmoid(-1 / (2 * strength[i])));
  }
}

TEST(DeterministicPreferences, NoiseGivesDpoAMinimumAtTheLogit) {
  for (const Json& point : figures()["noisy"]) {
    const double p = point["p"];
    for (const auto& [i, strength] : {std::pair{size_t{0}, 0.1}, {size_t{1}, 1.0}}) {
      expect_relative(point["y2"][2 * i], sigmoid(-logit(p) / strength), 1e-6);
      expect_relative(point["y2"][2 * i + 1], sigmoid(-(2 * p - 1) / (2 * strength)));
    }
  }
}

TEST(DeterministicPreferences, SamplesAgreeByChance) {
  for (const Json& point : figures()["finite"]) {
    const double p = point["p"], n = point["n"];
    expect_relative(point["all_agree"], n == 1 ? 1 : std::pow(p, n) + std::pow(1 - p, n));
    // With β = 1 π(y₁) is the share of labels itself.
    expect_relative(point["dpo"], std::sqrt(p * (1 - p) / n));
    if (n > 1) continue;
    const double limit = sigmoid(-(2 * p - 1) / 2);
    expect_relative(point["ipo"], std::sqrt(p * std::pow(sigmoid(-0.5) - limit, 2) +
                                            (1 - p) * std::pow(sigmoid(0.5) - limit, 2)));
  }
}

TEST(DeterministicPreferences, PsiStopsWhereItIsFinite) {
  const Json& psi = figures()["psi"];
  EXPECT_NEAR(psi["largest_difference_to_closed_form"], 0, 1e-8);
  const std::vector<double> p{0.9, 0.99, 0.999, 1};
  for (const Json& point : psi["family"]) {
    const double c = point["c"];
    for (size_t i = 0; i < p.size(); ++i) {
      const double odds = (p[i] + c) / (1 - p[i] + c);  // Ψ(p) = −Ψ(1 − p)
      expect_relative(point["y2"][i], sigmoid(-(0.5 + c) / 2 * std::log(odds) / 0.1), 1e-6);
    }
  }
  for (size_t i = 0; i < 3; ++i)
    expect_relative(psi["logit"][i], sigmoid(-logit(p[i]) / 0.4), 1e-6);
}

}  // namespace
}  // namespace luce
