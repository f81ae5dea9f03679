#include "experiment/one_family.h"

#include <ATen/ATen.h>

#include <cmath>

#include "experiment/experiments.h"
#include "luce/oracle/table.h"
#include "support/support.h"

namespace luce::family {
namespace {

using oracle::numbers;
using test::close;

const Findings& found() {
  static const Findings quick = one_family().run({.quick = true, .seed = 1});
  return quick;
}

Tensor f64(const Json& list) { return numbers(list.get<std::vector<double>>()); }
double logit(double p) { return std::log(p / (1 - p)); }

TEST(OneFamily, ClosedFormsAndAutogradAgree) {
  const auto& random = found().figures["random"];
  EXPECT_EQ(random.size(), 9u);
  for (const auto& [loss, weights] : random.items())
    EXPECT_LT(weights["off"].get<double>(), 1e-10) << loss;
  EXPECT_LT(found().figures["largest_error"].get<double>(), 1e-10);
}

TEST(OneFamily, WeightsFollowTheMarginAsTheirFormulasSay) {
  const auto& margins = found().figures["margins"];
  const Tensor x = f64(margins["beta_delta"]);  // β (u_w − u_l), so that L_w − L_l = 2x
  const auto expect = [&](const char* loss, const Tensor& want) {
    EXPECT_TRUE(close(f64(margins[loss]), want, 1e-12)) << loss;
  };
  expect("RLHF, reward model", 2 * at::sigmoid(-x));
  expect("DPO", 2 * at::sigmoid(-x));
  expect("IPO", 1 - 2 * x);
  expect("SLiC", at::lt(x, 0.5).to(at::kDouble));
  expect("generative", 2 * at::sigmoid(-2 * x));
  expect("regularised generative", 2 * at::sigmoid(-2 * x));
  expect("unlikelihood, plain", at::ones_like(x));
  const Tensor rejected = at::sigmoid(-2 * x) / 2;  // of half the mass; 1/4 at x = 0
  expect("unlikelihood", 3 * rejected / (1 - rejected));
  expect("RLHF, policy gradient", 4 * at::sigmoid(2 * x) * at::sigmoid(-2 * x) * (1 - x));
}

TEST(OneFamily, UnitsOfTheWeightsAtNoMargin) {
  const std::vector<std::string> want{"0",      "0.5000", "0.2500", "2.0000", "1.0000",
                                      "0.3333", "1.0000", "0.5000", "1.0000", "0.0625"};
  EXPECT_EQ(found().tables[1].rows[3], want);
}

TEST(OneFamily, WeightsCancelWhereTheLabelsSay) {
  const auto& rest = found().figures["rest"];
  const double reference = std::log(0.3 / 0.7);
  const auto expect = [&](const char* loss, double even, double uneven, double tolerance) {
    EXPECT_NEAR(rest[loss]["even"].get<double>(), even, tolerance) << loss;
    EXPECT_NEAR(rest[loss]["uneven"].get<double>(), uneven, tolerance) << loss;
  };
  expect("reward_model", logit(0.8) / 0.5, logit(0.8) / 0.5 + reference, 1e-9);
  expect("dpo", logit(0.8) / 0.5, logit(0.8) / 0.5 + reference, 1e-9);
  expect("ipo", 0.6, 0.6 + reference, 1e-9);  // (2p − 1)/(2τ)
  expect("slic", 1, 1, 1e-6);                 // δ
  for (const char* loss : {"unlikelihood", "generative", "regularised_generative"})
    expect(loss, logit(0.8), logit(0.8), 1e-9);
}

TEST(OneFamily, OnlyInverseRlMovesTheRewardOfAnUnseenAnswer) {
  const auto& unseen = found().figures["unseen"];
  for (const char* loss : {"bradley_terry", "dpo", "regularised_generative"}) {
    EXPECT_EQ(unseen[loss]["largest_slope"].get<double>(), 0) << loss;
    EXPECT_EQ(unseen[loss]["rewards"][2].get<double>(), 0) << loss;
  }
  const double half = logit(0.8) / 2;
  EXPECT_TRUE(close(f64(unseen["bradley_terry"]["rewards"]), numbers({half, -half, 0}), 1e-9));
  EXPECT_TRUE(close(f64(unseen["dpo"]["rewards"]), numbers({half, -half, 0}), 1e-9));
  const double gap = 0.5 * (logit(0.8) - std::log(0.5 / 0.3));  // log π*_1 − log π*_2 = logit 0.8
  EXPECT_TRUE(close(f64(unseen["regularised_generative"]["rewards"]),
                    numbers({gap / 2, -gap / 2, 0}), 1e-9));

  EXPECT_NEAR(unseen["inverse_rl"]["slope_at_start"].get<double>(), 0.2 / 0.5, 1e-15);  // π*(y₃)/β
  double r[3] = {0, 0, 0}, p[3];
  const double ref[3] = {0.5, 0.3, 0.2}, shown[3] = {0.8, 0.2, 0};
  for (int step = 0; step <= 200; ++step) {
    double z = 0;
    for (int y = 0; y < 3; ++y) z += p[y] = ref[y] * std::exp(r[y] / 0.5);
    for (double& q : p) q /= z;
    if (step == 200) break;
    for (int y = 0; y < 3; ++y) r[y] -= 0.5 * (p[y] - shown[y]) / 0.5;
  }
  EXPECT_TRUE(close(f64(unseen["inverse_rl"]["rewards"]), numbers({r[0], r[1], r[2]}), 1e-11));
  EXPECT_TRUE(close(f64(unseen["inverse_rl"]["policy"]), numbers({p[0], p[1], p[2]}), 1e-11));
  EXPECT_LT(r[2], -1.5);
}

TEST(OneFamily, ExactInnerLoopsAreTheLossItself) {
  for (const char* loss : {"regularised_generative", "inverse_rl"})
    EXPECT_TRUE(close(f64(found().figures[loss]["exact"]["rewards"]),
                      f64(found().figures["unseen"][loss]["rewards"]), 1e-11))
        << loss;
}

TEST(OneFamily, AShortInnerLoopIsMadeUpForByTheReward) {
  const auto& generative = found().figures["regularised_generative"];
  const double exact = generative["exact"]["rewards"][0].get<double>();
  EXPECT_NEAR(generative["continued"]["64"]["rewards"][0].get<double>(), exact, 1e-9);
  EXPECT_NEAR(generative["continued"]["1"]["rewards"][0].get<double>(), exact, 1e-3);

  // One step from π_ref: log π₁/π₂ = log(5/3) + ½ (½ (R₁ − E) − 0.3 (R₂ − E)), E = 0.2 R₁, R₂ =
  // −R₁, must come to log 4.
  const double want = (std::log(4) - std::log(5.0 / 3)) / 0.38;
  EXPECT_NEAR(generative["restarted"]["1"]["rewards"][0].get<double>(), want, 1e-5);
  EXPECT_EQ(generative["restarted"]["1"]["rewards"][2].get<double>(), 0);
  double before = want;
  for (const char* inner : {"4", "16", "64"}) {
    const double r = generative["restarted"][inner]["rewards"][0].get<double>();
    EXPECT_LT(r, before);
    EXPECT_GT(r, exact);
    before = r;
  }
  const auto& inverse = found().figures["inverse_rl"];
  const auto third = [&](const char* begins, const char* inner) {
    return inverse[begins][inner]["rewards"][2].get<double>();
  };
  EXPECT_LT(third("continued", "1"), third("continued", "64"));
  EXPECT_LT(third("restarted", "1"), third("continued", "1"));
  EXPECT_LT(third("continued", "64"), inverse["exact"]["rewards"][2].get<double>());
}

TEST(OneFamily, IsComplete) {
  EXPECT_EQ(found().tables.size(), 6u);
  EXPECT_EQ(found().charts.size(), 5u);
  for (const Table& table : found().tables)
    for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size()) << table.title;
}

}  // namespace
}  // namespace luce::family
