// How the losses are related: what one is a case, a limit or a sum of, and what the columns of rows
// and the modifiers do to each.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "loss/inputs.h"
#include "luce/base/error.h"
#include "luce/loss/alphapo.h"
#include "luce/loss/apo_zero.h"
#include "luce/loss/apo_zero_unpaired.h"
#include "luce/loss/bco.h"
#include "luce/loss/cpo.h"
#include "luce/loss/dpo.h"
#include "luce/loss/generative.h"
#include "luce/loss/ipo.h"
#include "luce/loss/kto.h"
#include "luce/loss/log1mexp.h"
#include "luce/loss/mixture.h"
#include "luce/loss/plackett_luce.h"
#include "luce/loss/psi.h"
#include "luce/loss/regression.h"
#include "luce/loss/robust.h"
#include "luce/loss/simpo.h"
#include "luce/loss/slic.h"
#include "luce/loss/unlikelihood.h"
#include "support/support.h"

namespace luce {
namespace {

using test::answer;
using test::close;
using test::f64;
using test::gradient_of;
using test::values_of;

/// Four pairs of uneven answers, on both sides of every threshold.
std::vector<test::Group> groups() {
  return {test::pair_of({Role::chosen, {-0.5, -2.25, -0.125}, {-1, -1.5, -0.75}},
                        {Role::rejected, {-1.5, -0.25}, {-0.5, -0.25}}),
          test::pair_of({Role::chosen, {-3}, {-0.25}}, {Role::rejected, {-0.5, -1}, {-2, -4}}),
          test::pair_of({Role::chosen, {-0.01, -0.02}, {-2, -3}},
                        {Role::rejected, {-6, -2, -1, -3}, {-1, -1, -2, -2}}),
          test::pair_of({Role::chosen, {-1, -1}, {-1, -1}}, {Role::rejected, {-2}, {-2}})};
}

void expect_same(const SequenceLoss& a, const SequenceLoss& b, const GroupInputs& x,
                 double tolerance = 1e-12) {
  const Tensor value_a = values_of(a, x), value_b = values_of(b, x);
  EXPECT_TRUE(close(value_a, value_b, tolerance, tolerance));
  EXPECT_TRUE(close(gradient_of(value_a, x), gradient_of(value_b, x), tolerance, tolerance));
}

TEST(LossFamily, PlackettLuceOfTwoIsDpo) {
  const auto x = test::inputs_of(groups());
  expect_same(PlackettLuce({.beta = 0.3}), Dpo({.beta = 0.3}), x);
  expect_same(PlackettLuce({.beta = 0.3, .form = "top1"}), Dpo({.beta = 0.3}), x);
}

TEST(LossFamily, GenerativePreferenceIsDpoWithAConstantReference) {
  auto x = test::inputs_of(groups());
  for (size_t c = 0; c < x.role.size(); ++c)  // a reference that gives every answer e⁻⁵
    x.ref_logps->values.slice(0, x.logps.offset[c], x.logps.offset[c + 1])
        .fill_(-5.0 / static_cast<double>(x.logps.offset[c + 1] - x.logps.offset[c]));
  expect_same(Generative({.kl_weight = 0}), Dpo({.beta = 1}), x);
  EXPECT_FALSE(Generative({.kl_weight = 0}).needs().reference);
}

TEST(LossFamily, GenerativePreferenceAsksForHalfOfItsDivergencePerPair) {
  const Needs needs = Generative({.kl_weight = 0.3}).needs();
  EXPECT_TRUE(needs.reference);
  ASSERT_EQ(needs.divergences.size(), 1u);
  EXPECT_EQ(needs.divergences[0].kind, Divergence::forward_kl);
  EXPECT_EQ(needs.divergences[0].per, Per::item);
  EXPECT_DOUBLE_EQ(needs.divergences[0].weight, 0.15);
}

TEST(LossFamily, AlphaPoTendsToSimpo) {
  const auto x = test::inputs_of(groups());
  const Simpo simpo({.beta = 2, .gamma = 0.5, .label_smoothing = 0.1});
  const auto alpha_po = [](double alpha) {
    return AlphaPo({.beta = 2, .gamma = 0.5, .alpha = alpha, .label_smoothing = 0.1});
  };
  expect_same(alpha_po(0), simpo, x, 0);
  expect_same(alpha_po(1e-9), simpo, x, 1e-7);
  expect_same(alpha_po(-1e-9), simpo, x, 1e-7);
  EXPECT_FALSE(close(values_of(alpha_po(0.1), x), values_of(simpo, x), 1e-3));
}

TEST(LossFamily, TheHingeOfCpoIsSlicScaled) {
  const auto x = test::inputs_of(groups());
  const Tensor cpo = values_of(Cpo({.beta = 0.4, .form = "hinge"}), x);
  EXPECT_TRUE(close(cpo, 0.4 * values_of(Slic({.delta = 1 / 0.4}), x), 1e-12));
  EXPECT_GT(cpo.count_nonzero().item<int64_t>(), 0);
}

TEST(LossFamily, RobustWithoutNoiseIsDpo) {
  expect_same(Robust({.beta = 0.3}), Dpo({.beta = 0.3}), test::inputs_of(groups()));
}

TEST(LossFamily, RobustIsUnbiasedUnderFlippedLabels) {
  auto x = test::inputs_of(groups());
  const Robust robust({.beta = 0.3, .label_smoothing = 0.2});
  x.columns.preference = {0.8, 0.8, 0.8, 0.8};  // what is seen of labels that are all right
  const Tensor seen = values_of(robust, x);
  x.columns.preference.clear();
  EXPECT_TRUE(close(seen, values_of(Dpo({.beta = 0.3}), x), 1e-12));
}

TEST(LossFamily, PsiOfTheIdentityIsIpoInSums) {
  expect_same(Psi({.tau = 0.3}), Ipo({.beta = 0.3, .lengths = "sum"}), test::inputs_of(groups()));
  const Psi own([](const Tensor& p) { return p; }, 0.3);
  expect_same(own, Psi({.tau = 0.3}), test::inputs_of(groups()));
}

TEST(LossFamily, PsiOfTheLogitIsDpoForAnyPreference) {
  auto x = test::inputs_of(groups());
  expect_same(Psi({.tau = 0.3, .psi = "logit"}), Dpo({.beta = 0.3}), x);
  x.columns.preference = {0.5, 0.9, 0.25, 1};
  expect_same(Psi({.tau = 0.3, .psi = "logit"}), Dpo({.beta = 0.3}), x);
}

TEST(LossFamily, ApoZeroIsTheSumOfItsHalves) {
  const auto x = test::inputs_of(groups());
  const Tensor halves = values_of(ApoZeroUnpaired({.beta = 0.3}), x).view({4, 2}).sum(1);
  EXPECT_TRUE(close(values_of(ApoZero({.beta = 0.3}), x), halves, 1e-12));
}

TEST(LossFamily, KtoIsApoZeroUnpairedWhereItsShiftIsZeroOrWouldBeLess) {
  const Kto kto({.beta = 0.3, .desirable_weight = 1.5, .undesirable_weight = 0.5});
  const ApoZeroUnpaired apo({.beta = 0.3, .desirable_weight = 1.5, .undesirable_weight = 0.5});
  const auto z0 = [&](const GroupInputs& x) {
    Metrics metrics;
    kto(x, metrics);
    return metrics.mean("kl");
  };
  auto pairs = groups();
  expect_same(kto, apo, test::inputs_of(pairs));
  pairs[0].push_back(answer(Role::mismatched, -9, -5));
  pairs[1].push_back(answer(Role::mismatched, -4, -5));  // mean log-ratio −1.5
  expect_same(kto, apo, test::inputs_of(pairs));
  EXPECT_EQ(z0(test::inputs_of(pairs)), 0);
  pairs[1].push_back(answer(Role::mismatched, -1, -9));
  EXPECT_NEAR(z0(test::inputs_of(pairs)), 5.0 / 3, 1e-12);
}

TEST(LossColumns, AMarginIsTakenOffTheRewardOfTheChosenAnswer) {
  auto x = test::inputs_of(groups());
  x.columns.margin = {0.4, 1, 0, 2.5};
  constexpr double beta = 0.3;
  const Tensor u = x.logps.sum() - x.ref_logps->sum();
  const Tensor gap = u.view({4, 2}).select(1, 0) - u.view({4, 2}).select(1, 1);
  const Tensor h = beta * gap - f64(x.columns.margin);
  const Tensor value = values_of(Dpo({.beta = beta}), x);
  EXPECT_TRUE(close(value, -at::log_sigmoid(h), 1e-12));
  const Tensor weight = beta * at::sigmoid(-h);  // β σ(m − β Δ)
  const Tensor first_of_chosen = f64({0, 5, 8, 14}).to(at::kLong);
  EXPECT_TRUE(close(gradient_of(value, x).index_select(0, first_of_chosen), -weight, 1e-12));
}

/// α = 1 is the reverse KL, in every loss and for every column.
TEST(LossColumns, AMarginDoesNotDependOnHowADivergenceIsWritten) {
  auto x = test::inputs_of(groups());
  x.columns.margin = {0.4, 1, 0, 2.5};
  for (const char* name : {"dpo", "ipo", "sigmoid_norm", "hinge"}) {
    const auto plain = test::make_loss({{"type", name}});
    const auto alpha = test::make_loss({{"type", name},
                                        {"f_divergence_type", "alpha_divergence"},
                                        {"f_alpha_divergence_coef", 1}});
    EXPECT_TRUE(close(values_of(*alpha, x), values_of(*plain, x), 1e-12)) << name;
  }
}

TEST(LossColumns, AHalfLabelIsTheMeanOfBothDirections) {
  const auto there = test::inputs_of(groups());
  auto turned = groups();
  for (auto& group : turned) group = test::pair_of(group[1], group[0]);
  const auto back = test::inputs_of(turned);
  auto tied = there;
  tied.columns.preference = {0.5, 0.5, 0.5, 0.5};
  int losses = 0;
  const auto registry = Registry::with_builtins();
  for (const auto& info : registry.losses()) {
    const auto loss = test::make_loss({{"type", info.name}});
    const auto* pair = dynamic_cast<PairLoss*>(loss.get());
    if (pair == nullptr || pair->takes_preference() || loss->needs().couples == Coupling::step)
      continue;
    const Tensor want = 0.5 * values_of(*loss, there) + 0.5 * values_of(*loss, back);
    EXPECT_TRUE(close(values_of(*loss, tied), want, 1e-12)) << info.name;
    ++losses;
  }
  EXPECT_EQ(losses, 22 - 3);
}

TEST(LossColumns, APreferenceHasItsMinimumAtItsLogit) {
  for (const double p : {0.5, 0.2, 0.9}) {
    const double at = std::log(p / (1 - p));  // β · gap of log-ratios
    std::vector<double> values;
    for (const double h : {at - 0.1, at, at + 0.1}) {
      auto x = test::inputs_of(
          {test::pair_of(answer(Role::chosen, h / 0.3 - 9, -9), answer(Role::rejected, -5, -5))});
      x.columns.preference = {p};
      const Tensor value = values_of(Dpo({.beta = 0.3}), x);
      values.push_back(value.item<double>());
      if (h == at) {
        EXPECT_TRUE(close(gradient_of(value, x), f64({0, 0}), 1e-12));
      }
    }
    EXPECT_LT(values[1], values[0]);
    EXPECT_LT(values[1], values[2]);
  }
}

TEST(LossModifiers, LdAlphaOfOneChangesNothingAndOfZeroIgnoresTails) {
  const auto x = test::inputs_of(groups());
  const auto dpo = test::make_loss({{"type", "dpo"}});
  expect_same(*test::make_loss({{"type", "dpo"}, {"ld_alpha", 1}}), *dpo, x);
  auto cut = groups();
  for (auto& group : cut) {
    const size_t shared = std::min(group[0].logps.size(), group[1].logps.size());
    for (auto& a : group) {
      a.logps.resize(shared);
      a.ref_logps.resize(shared);
    }
  }
  const auto none = test::make_loss({{"type", "dpo"}, {"ld_alpha", 0}});
  EXPECT_TRUE(close(values_of(*none, x), values_of(*dpo, test::inputs_of(cut)), 1e-12));
  EXPECT_FALSE(close(values_of(*none, x), values_of(*dpo, x), 1e-3));
  const Tensor gradient = gradient_of(values_of(*none, x), x);
  EXPECT_EQ(gradient[2].item<double>(), 0);  // the third token, where the other answer has two
  EXPECT_NE(gradient[1].item<double>(), 0);
  const Tensor rewards = none->rewards(x);  // logged are those of what the loss compares
  EXPECT_TRUE(close(rewards, dpo->rewards(test::inputs_of(cut)), 1e-12));
}

TEST(LossModifiers, ReferenceFreeIsAReferenceOfZeros) {
  auto zeros = test::inputs_of(groups());
  zeros.ref_logps->values.zero_();
  auto none = test::inputs_of(groups());
  none.ref_logps.reset();
  for (const char* name : {"dpo", "ipo", "aot"}) {
    const auto free = test::make_loss({{"type", name}, {"reference_free", true}});
    EXPECT_FALSE(free->needs().reference);
    const Tensor want = values_of(*test::make_loss({{"type", name}}), zeros);
    EXPECT_TRUE(close(values_of(*free, none), want, 1e-15)) << name;
    // In a mixture another loss may have asked for the reference.
    EXPECT_TRUE(close(values_of(*free, test::inputs_of(groups())), want, 1e-15)) << name;
  }
}

TEST(LossModifiers, RpoAlphaAddsTheLikelihoodOfChosenAnswers) {
  const auto x = test::inputs_of(groups());
  const auto rpo = test::make_loss({{"type", "dpo"}, {"rpo_alpha", 0.2}});
  const auto mix = test::make_loss({{"type", {"dpo", "sft"}}, {"weights", {1, 0.2}}});
  const Tensor loss = test::loss_of(*rpo, x), sum = test::loss_of(*mix, x);
  EXPECT_TRUE(close(loss, sum, 1e-12));
  EXPECT_TRUE(close(gradient_of(loss, x), gradient_of(sum, x), 1e-12));
  // Added to what a loss has of it already.
  const auto cpo = test::make_loss({{"type", "cpo"}, {"cpo_alpha", 0.5}, {"rpo_alpha", 0.2}});
  EXPECT_TRUE(close(test::loss_of(*cpo, x), test::loss_of(Cpo({.cpo_alpha = 0.7}), x), 1e-12));
}

TEST(LossModifiers, WpoWeighsPairsByTheirOddsUnderThePolicyItself) {
  auto pairs = groups();
  pairs.resize(1);
  pairs[0][0].log_sum_p2 = {-1, -2, -0.5};
  pairs[0][1].log_sum_p2 = {-1.25, -0.75};
  const auto x = test::inputs_of(pairs);
  const double chosen = (-0.5 + 1 - 2.25 + 2 - 0.125 + 0.5) / 3;
  const double rejected = (-1.5 + 1.25 - 0.25 + 0.75) / 2;
  const double weight = std::exp(chosen) * std::exp(rejected);
  const auto wpo = test::make_loss({{"type", "dpo"}, {"use_weighting", true}});
  EXPECT_TRUE(wpo->needs().log_sum_p2);
  const Tensor dpo = values_of(Dpo(), x), got = values_of(*wpo, x);
  EXPECT_TRUE(close(got, weight * dpo, 1e-12));
  EXPECT_TRUE(close(gradient_of(got, x), weight * gradient_of(dpo, x), 1e-12))
      << "the weight takes no gradient";
}

TEST(Bco, ShiftIsTheMeanOfAllRewardsSoFarAndSurvivesACheckpoint) {
  const auto steps = groups();
  const auto first = test::inputs_of({steps[0], steps[1]}), second = test::inputs_of({steps[2]});
  Bco bco({.beta = 0.5});
  EXPECT_EQ(bco.state(), (Json{{"delta", 0.0}, {"rewards", 0.0}}));
  const auto delta_at = [](const Bco& loss, const GroupInputs& x) {
    Metrics metrics;
    loss(x, metrics);
    return metrics.mean("delta");
  };
  // Log-ratios 0.375, −1, −2.75, 4.5 and then 4.97, −6.
  bco.observe(first);
  EXPECT_NEAR(delta_at(bco, first), 0.5 * (0.375 - 1 - 2.75 + 4.5) / 4, 1e-12);
  bco.observe(second);
  const double delta = 0.5 * (0.375 - 1 - 2.75 + 4.5 + 4.97 - 6) / 6;
  EXPECT_NEAR(delta_at(bco, second), delta, 1e-12);
  const double chosen = 0.5 * 4.97 - delta, rejected = 0.5 * -6 - delta;
  EXPECT_TRUE(close(values_of(bco, second),
                    f64({std::log1p(std::exp(-chosen)), std::log1p(std::exp(rejected))}), 1e-12));

  Bco resumed({.beta = 0.5});
  resumed.load_state(Json::parse(bco.state().dump()));
  EXPECT_EQ(resumed.state(), bco.state());
  bco.observe(first);
  resumed.observe(first);
  EXPECT_EQ(delta_at(resumed, first), delta_at(bco, first));
}

TEST(Bco, ShiftSurvivesInAMixture) {
  const Json section = {{"type", {"sft", "bco"}}, {"weights", {0.5, 1}}};
  const auto x = test::inputs_of(groups());
  const auto mix = test::make_loss(section), resumed = test::make_loss(section);
  mix->observe(x);
  EXPECT_TRUE(mix->state()[0].is_null());
  EXPECT_EQ(mix->state()[1]["rewards"], 8);
  resumed->load_state(mix->state());
  EXPECT_EQ(resumed->state(), mix->state());
  EXPECT_TRUE(test::make_loss({{"type", {"sft", "dpo"}}})->state().is_null());
}

/// One group of ranked answers of one token, with these log-ratios and scores.
GroupInputs ranked(const std::vector<double>& u, const std::vector<double>& score) {
  test::Group group;
  for (const double ratio : u) group.push_back(answer(Role::ranked, ratio - 8, -8));
  GroupInputs x = test::inputs_of({group});
  x.columns.score = score;
  return x;
}

TEST(PlackettLuceLoss, IsADistributionOverOrders) {
  std::vector<double> score{1, 2, 3};
  double all = 0, best_is_last = 0;
  do {
    const auto x = ranked({0.7, -1.1, 0.2}, score);
    all += std::exp(-values_of(PlackettLuce({.beta = 1}), x).item<double>());
    if (score[2] == 3)
      best_is_last += std::exp(-values_of(PlackettLuce({.beta = 1}), x).item<double>());
  } while (std::next_permutation(score.begin(), score.end()));
  EXPECT_NEAR(all, 1, 1e-12);
  const auto x = ranked({0.7, -1.1, 0.2}, {1, 2, 3});
  EXPECT_NEAR(std::exp(-values_of(PlackettLuce({.beta = 1, .form = "top1"}), x).item<double>()),
              best_is_last, 1e-12);
}

TEST(PlackettLuceLoss, TiedAnswersShareTheirDenominator) {
  const double a = std::exp(0.7), b = std::exp(-1.1), c = std::exp(0.2);
  const auto value = [](const std::vector<double>& score) {
    const auto x = ranked({0.7, -1.1, 0.2}, score);
    return values_of(PlackettLuce({.beta = 1}), x).item<double>();
  };
  EXPECT_NEAR(value({2, 2, 1}), -std::log(a * b / ((a + b + c) * (a + b + c))), 1e-12);
  EXPECT_NEAR(value({2, 1, 1}), -std::log(a / (a + b + c) * b * c / ((b + c) * (b + c))), 1e-12);
  EXPECT_NEAR(value({1, 1, 1}), -std::log(a * b * c / std::pow(a + b + c, 3)), 1e-12);
}

TEST(PlackettLuceLoss, GroupsOfOtherSizesDoNotReachIt) {
  auto x = test::inputs_of({{answer(Role::ranked, -7.3, -8), answer(Role::ranked, -9.1, -8),
                             answer(Role::ranked, -7.8, -8)},
                            {answer(Role::ranked, -3, -1)},
                            {answer(Role::ranked, -3, -1), answer(Role::ranked, -1, -2)}});
  x.columns.score = {1, 2, 3, 1, 2, 1};
  const Tensor value = values_of(PlackettLuce({.beta = 1}), x);
  EXPECT_NEAR(
      value[0].item<double>(),
      values_of(PlackettLuce({.beta = 1}), ranked({0.7, -1.1, 0.2}, {1, 2, 3})).item<double>(),
      1e-12);
  EXPECT_EQ(value[1].item<double>(), 0);
  EXPECT_NEAR(value[2].item<double>(), std::log1p(std::exp(3.0)), 1e-12);
  EXPECT_TRUE(at::isfinite(gradient_of(value, x)).all().item<bool>());
}

TEST(RegressionLoss, IsZeroWhereLogRatiosAreScoresOverBetaUpToAConstant) {
  const std::vector<double> score{0.5, -1.5, 2, 0};
  std::vector<double> u;
  for (const double z : score) u.push_back((z - 0.9) / 0.2);  // β log Z = 0.9
  const auto x = ranked(u, score);
  const Tensor value = values_of(Regression({.beta = 0.2}), x);
  EXPECT_TRUE(close(value, f64({0}), 1e-12));
  EXPECT_TRUE(close(gradient_of(value, x), f64({0, 0, 0, 0}), 1e-12));
  const auto alone = ranked({3}, {1});
  EXPECT_EQ(values_of(Regression(), alone).item<double>(), 0) << "there is nothing to compare with";
}

TEST(MixtureLoss, IsBetweenTheMeanRaterAndTheWorstServedOne) {
  auto x = test::inputs_of(groups());
  x.columns.rater = {0, 1, 0, -1};
  const Tensor dpo = values_of(Dpo({.beta = 0.3}), x);
  const double first = ((dpo[0] + dpo[2]) / 2).item<double>(), second = dpo[1].item<double>(),
               unnamed = dpo[3].item<double>();
  const auto value = [&](double tau) {
    const Tensor v = values_of(Mixture({.beta = 0.3, .tau = tau}), x);
    EXPECT_EQ(v.dim(), 0);
    return v.item<double>();
  };
  const double worst = std::max({first, second, unnamed});
  EXPECT_NEAR(value(1e6), (first + second + unnamed) / 3, 1e-6);
  EXPECT_NEAR(value(1e-3), worst - 1e-3 * std::log(3), 1e-12);
  EXPECT_NEAR(
      value(0.5),
      0.5 *
          std::log((std::exp(first / 0.5) + std::exp(second / 0.5) + std::exp(unnamed / 0.5)) / 3),
      1e-12);
  Metrics metrics;
  const auto terms = Mixture({.beta = 0.3})(x, metrics);
  EXPECT_EQ(terms.at(0).per, Per::step);
  EXPECT_EQ(metrics.mean("raters"), 3);
  EXPECT_DOUBLE_EQ(metrics.mean("loss/worst_rater"), worst);
}

/// Two reward tables over three answers, learnt by EM from 4 raters of whom two prefer 0 > 1 > 2
/// and two the opposite, each judging every pair.
struct RaterTables {
  Tensor rewards = f64({0.1, 0, -0.1, -0.05, 0, 0.05}).view({2, 3}).requires_grad_(true);
  Tensor alpha = f64({0.5, 0.5}), gamma;

  explicit RaterTables(bool with_ids) {
    std::vector<int64_t> better, worse;
    RaterEvidence evidence;
    for (int64_t rater = 0; rater < 4; ++rater)
      for (int64_t a = 0; a < 3; ++a)
        for (int64_t b = a + 1; b < 3; ++b) {
          better.push_back(rater < 2 ? a : b);
          worse.push_back(rater < 2 ? b : a);
          evidence.rater.push_back(with_ids ? rater : -1);
        }
    const Tensor w = at::tensor(better, at::kLong), l = at::tensor(worse, at::kLong);
    for (int step = 0; step < 30; ++step) {
      evidence.margins = (rewards.index_select(1, w) - rewards.index_select(1, l)).t();
      gamma = responsibilities(evidence, alpha);
      const Tensor g = gradient_of(mixture_loss(evidence, gamma).sum(), rewards);
      rewards = (rewards - 0.5 * g).detach().requires_grad_(true);
      alpha = gamma.mean(0);
    }
  }
};

TEST(MixtureRewards, RatersOfOppositeTasteAreToldApartByTheirNames) {
  const RaterTables found(true);
  EXPECT_FALSE(found.gamma.requires_grad());
  EXPECT_TRUE(close(found.gamma.sum(1), at::ones({12}, at::kDouble), 1e-12));
  const Tensor first = found.gamma.select(1, 0);
  EXPECT_GT(first.slice(0, 0, 6).min().item<double>(), 0.999);  // pairs of raters 0 and 1
  EXPECT_LT(first.slice(0, 6).max().item<double>(), 0.001);
  const Tensor steps = found.rewards.slice(1, 0, 2) - found.rewards.slice(1, 1, 3);
  EXPECT_GT(steps[0].min().item<double>(), 1);   // 0 > 1 > 2
  EXPECT_LT(steps[1].max().item<double>(), -1);  // 2 > 1 > 0
  EXPECT_TRUE(close(found.alpha, f64({0.5, 0.5}), 1e-3));
}

TEST(MixtureRewards, WithoutNamesTheOddsStayEven) {
  const RaterTables found(false);
  EXPECT_TRUE(close(found.gamma, at::full({12, 2}, 0.5, at::kDouble), 0.06));
  EXPECT_LT(found.rewards.abs().max().item<double>(), 0.15);
}

TEST(MixtureRewards, ResponsibilitiesAreThePosteriorOfTheRater) {
  const RaterEvidence evidence{f64({1, -2, 0.5, 3, -1, 0}).view({3, 2}), {7, -1, 7}};
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const auto first = [](double a, double b) { return a / (a + b); };
  const double named = first(0.3 * sigmoid(1) * sigmoid(-1), 0.7 * sigmoid(-2) * sigmoid(0));
  const double alone = first(0.3 * sigmoid(0.5), 0.7 * sigmoid(3));
  const Tensor gamma = responsibilities(evidence, f64({0.3, 0.7}));
  EXPECT_TRUE(close(gamma.select(1, 0), f64({named, alone, named}), 1e-12));
  const double want = -(named * std::log(sigmoid(1)) + (1 - named) * std::log(sigmoid(-2)));
  EXPECT_NEAR(mixture_loss(evidence, gamma)[0].item<double>(), want, 1e-12);
}

using Candidates = std::vector<std::vector<int64_t>>;

Candidates candidates_of(const UnlikelihoodOptions& options, size_t completion) {
  Example row;
  row.prompt = {5, 3, 5};
  row.completions = {{3, 7, 3, 9}, {1, 1}};
  Candidates tokens(row.completions[completion].size());
  Unlikelihood(options).candidates(row, completion, tokens);
  return tokens;
}

TEST(UnlikelihoodCandidates, AreTheTokensBeforeEachOnceWithoutTheTokenItself) {
  EXPECT_EQ(candidates_of({.form = "token"}, 0), (Candidates{{5}, {3, 5}, {5, 7}, {3, 5, 7}}));
  EXPECT_EQ(candidates_of({.form = "token", .include_gold = true}, 0),
            (Candidates{{3, 5}, {3, 5}, {3, 5, 7}, {3, 5, 7}}));
  EXPECT_EQ(candidates_of({.form = "token", .context = "completion"}, 0),
            (Candidates{{}, {3}, {7}, {3, 7}}));
  EXPECT_EQ(candidates_of({.form = "token", .context = "completion", .include_gold = true}, 0),
            (Candidates{{}, {3}, {3, 7}, {3, 7}}));
  EXPECT_EQ(candidates_of({.form = "token"}, 1), (Candidates{{}, {}})) << "a rejected answer";
}

TEST(Log1mExp, IsThatOfLongDoublesFromOneToZero) {
  for (const double x : {-1e-15, -1e-12, -1e-7, -1e-3, -0.1, -0.6, -M_LN2, -0.7, -1.0, -5.0, -30.0,
                         -36.9, -100.0, -700.0}) {
    const Tensor at = f64({x}).requires_grad_(true);
    const long double e = std::exp(static_cast<long double>(x));
    const long double exact =
        x > -0.1 ? std::log(-std::expm1(static_cast<long double>(x))) : std::log1p(-e);
    const long double slope = e / std::expm1(static_cast<long double>(x));
    const Tensor value = log1mexp(at);
    EXPECT_TRUE(close(value, f64({static_cast<double>(exact)}), 0, 4e-16)) << x;
    EXPECT_TRUE(close(gradient_of(value, at), f64({static_cast<double>(slope)}), 0, 4e-16)) << x;
  }
}

TEST(Log1mExp, IsFiniteAtProbabilityOneAndFlatThere) {
  const Tensor at = f64({0, -1e-17, -0x1p-52}).requires_grad_(true);
  const Tensor value = log1mexp(at);
  EXPECT_TRUE(close(value, at::full({3}, -52 * M_LN2, at::kDouble), 1e-12));
  EXPECT_TRUE(close(gradient_of(value, at).slice(0, 0, 2), f64({0, 0}), 0));
  const Tensor single = at::tensor({0.0f, -1e-3f, -50.0f});
  EXPECT_EQ(log1mexp(single).scalar_type(), at::kFloat);
  EXPECT_TRUE(close(log1mexp(single),
                    f64({-52 * M_LN2, std::log(-std::expm1(-1e-3)), -std::exp(-50.0)}), 1e-30,
                    1e-6));
}

/// An answer without a token has a log-prob of 0, and nothing of it comes to a division by 0.
TEST(LossFamily, EmptyAnswersGiveFiniteValuesAndGradients) {
  auto pairs = groups();
  pairs.push_back(test::pair_of({Role::chosen, {}, {}}, {Role::rejected, {-1, -2}, {-2, -1}}));
  pairs.push_back(test::pair_of({Role::chosen, {-1, -2}, {-2, -1}}, {Role::rejected, {}, {}}));
  pairs.push_back(test::pair_of({Role::chosen, {}, {}}, {Role::rejected, {}, {}}));
  pairs[0].push_back({Role::gold, {-1}, {-1}});
  pairs[1].push_back({Role::gold, {}, {}});
  auto x = test::inputs_of(pairs);
  x.columns.margin = {0, 0, 0, 0, 0.5, 0.5, 0.5};
  int losses = 0;
  const auto registry = Registry::with_builtins();
  for (const auto& info : registry.losses()) {
    const auto loss = test::make_loss({{"type", info.name}});
    if (!loss->needs().logps) continue;
    const Tensor value = test::loss_of(*loss, x);
    EXPECT_TRUE(std::isfinite(value.item<double>())) << info.name;
    EXPECT_TRUE(at::isfinite(gradient_of(value, x)).all().item<bool>()) << info.name;
    ++losses;
  }
  EXPECT_EQ(losses, 30);
  EXPECT_NEAR(values_of(Dpo(), x)[6].item<double>(), std::log1p(std::exp(0.5)), 1e-12);
}

}  // namespace
}  // namespace luce
