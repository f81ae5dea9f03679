// Losses of pairs on the oracle: their gradient, and the policy that infinitely many pairs lead to.
#include <ATen/ATen.h>

#include <cmath>

#include "luce/loss/cpo.h"
#include "luce/loss/dpo.h"
#include "luce/loss/exo.h"
#include "luce/loss/generative.h"
#include "luce/loss/hinge.h"
#include "luce/loss/ipo.h"
#include "luce/loss/psi.h"
#include "luce/loss/registry.h"
#include "luce/loss/robust.h"
#include "luce/loss/sft.h"
#include "luce/loss/sigmoid_norm.h"
#include "luce/loss/simpo.h"
#include "luce/loss/slic.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/population.h"
#include "luce/oracle/sequences.h"
#include "luce/oracle/table.h"
#include "support/support.h"

namespace luce::oracle {
namespace {

using test::close;

/// Losses of pairs that see one pair at a time and no more than the log-probs of its answers.
std::vector<std::string> pair_losses() {
  const auto registry = Registry::with_builtins();
  std::vector<std::string> out;
  for (const auto& info : registry.losses()) {
    const auto loss = registry.make_loss(Document::of({{"loss", {{"type", info.name}}}}, "oracle"));
    const Needs needs = loss->needs();
    const bool of_pairs = loss->rows() == Rows::pairs || loss->rows() == Rows::labelled ||
                          (loss->rows() == Rows::any && needs.logps);
    if (of_pairs && needs.couples != Coupling::step && needs.divergences.empty() && !needs.gold)
      out.push_back(info.name);
  }
  return out;
}

std::unique_ptr<SequenceLoss> loss_of(const Json& config) {
  return Registry::with_builtins().make_loss(Document::of({{"loss", config}}, "oracle"));
}

class PopulationOf : public ::testing::TestWithParam<std::string> {
 protected:
  const Sequences answers_ = all_sequences(2, 2, Ending::eos);  // of 1, 2 and 2 tokens
  const TokenValues reference_ = answers_.logps(normal({2, 2}, 5));
  const PairPopulation pairs_ = population(bradley_terry(normal({3}, 3)), uniform_pairs(3));

  Tensor value(const SequenceLoss& loss, const Tensor& logits) const {
    return population_loss(loss, pairs_, answers_.logps(logits), reference_);
  }
};

TEST_P(PopulationOf, HasTheGradientOfItsValueInTheLogitsOfEveryPrefix) {
  const auto loss = loss_of({{"type", GetParam()}});
  for (const uint64_t seed : {4, 6, 7}) {
    const Tensor logits = normal({2, 2}, seed).requires_grad_(true);
    const auto at = [&](const Tensor& x) { return value(*loss, x).item<double>(); };
    EXPECT_LT(test::gradient_error(at, logits, gradient(value(*loss, logits), logits), 1e-5), 1e-7);
  }
}

/// Descent ends where no step near by is an improvement.
TEST_P(PopulationOf, IsMinimisedExactly) {
  if (GetParam() == "hinge" || GetParam() == "slic")
    GTEST_SKIP() << "made of straight pieces: Newton's method stalls at their kinks";
  const auto loss = loss_of({{"type", GetParam()}});
  const Tensor start = normal({2, 2}, 4);
  const Minimum found = minimise([&](const Tensor& x) { return value(*loss, x); }, start);
  EXPECT_LT(found.value, value(*loss, start).item<double>());
  for (uint64_t seed = 10; seed < 30; ++seed)
    for (const double size : {1e-2, 1e-4}) {
      const Tensor near = found.x + size * normal({2, 2}, seed);
      EXPECT_GE(value(*loss, near).item<double>(), found.value - 1e-12) << size;
    }
}

INSTANTIATE_TEST_SUITE_P(Losses, PopulationOf, ::testing::ValuesIn(pair_losses()),
                         [](const auto& one) { return one.param; });

/// A reward, its optimum under a KL penalty, and pairs judged by Bradley-Terry.
class Minimiser : public ::testing::Test {
 protected:
  const KlObjective j_{log_policy(normal({4}, 38)), normal({4}, 39), 0.3};
  const Tensor preference_ = bradley_terry(j_.reward);

  Tensor of(const SequenceLoss& loss, const Tensor& preference) const {
    return fitted_policy(loss, population(preference, uniform_pairs(4)), j_.log_ref).x;
  }
  /// log π(0) − log π(1) after one pair that is always judged alike; less that of the reference.
  static std::pair<double, double> gaps(const SequenceLoss& loss) {
    const Tensor log_ref = log_policy(normal({2}, 8));
    const Tensor logp = fitted_policy(loss, one_pair(), log_ref).x;
    const auto gap = [](const Tensor& t) { return (t[0] - t[1]).item<double>(); };
    return {gap(logp), gap(logp) - gap(log_ref)};
  }
};

TEST_F(Minimiser, OfDpoPsiLogitAndSigmoidNormOnTokensIsTheOptimum) {
  const Tensor optimum = j_.log_optimum();
  EXPECT_TRUE(close(of(Dpo({.beta = 0.3}), preference_), optimum, 1e-9));
  EXPECT_TRUE(close(of(Psi(PsiOptions{.tau = 0.3, .psi = "logit"}), preference_), optimum, 1e-9));
  EXPECT_TRUE(close(of(SigmoidNorm({.beta = 0.3}), preference_), optimum, 1e-9));
}

TEST_F(Minimiser, OfRobustDpoIsTheOptimumThoughLabelsAreFlipped) {
  const double eps = 0.2;
  const Tensor flipped = (1 - eps) * preference_ + eps * (1 - preference_);
  EXPECT_TRUE(
      close(of(Robust({.beta = 0.3, .label_smoothing = eps}), flipped), j_.log_optimum(), 1e-9));
  EXPECT_FALSE(close(of(Dpo({.beta = 0.3}), flipped), j_.log_optimum(), 1e-2));
}

TEST_F(Minimiser, OfIpoOnSumsAndPsiIdentityIsThatOfPsiPo) {
  const Tensor even = at::full({4}, 0.25, at::kDouble);
  const Tensor want = psi_optimum(
      j_.log_ref, preference_, even, [](const Tensor& p) { return p; }, 0.3);
  EXPECT_TRUE(close(of(Ipo({.beta = 0.3, .lengths = "sum"}), preference_), want, 1e-9));
  EXPECT_TRUE(close(of(Psi(PsiOptions{.tau = 0.3}), preference_), want, 1e-9));
}

TEST_F(Minimiser, OfGenerativePreferenceIsTheChoiceModelItself) {
  EXPECT_TRUE(close(of(Generative({.kl_weight = 0}), preference_), log_policy(j_.reward), 1e-9));
}

TEST_F(Minimiser, OfSftIsTheDistributionOfChosenAnswers) {
  const auto pairs = population(preference_, uniform_pairs(4));
  Tensor chosen = at::zeros({4}, at::kDouble);
  for (size_t p = 0; p < pairs.chosen.size(); ++p)
    chosen[pairs.chosen[p]] += pairs.probability[static_cast<int64_t>(p)];
  EXPECT_TRUE(close(of(Sft(), preference_).exp(), chosen, 1e-9));
}

TEST_F(Minimiser, OfSmoothedLossesHasTheOddsOfTheirLabels) {
  const double logit = std::log(0.9 / 0.1);
  EXPECT_NEAR(gaps(Dpo({.beta = 0.5, .label_smoothing = 0.1})).second, logit / 0.5, 1e-8);
  EXPECT_NEAR(gaps(Exo({.beta = 0.5, .label_smoothing = 0.1})).second, logit / 0.5, 1e-8);
  EXPECT_NEAR(gaps(Cpo({.beta = 0.5, .label_smoothing = 0.1, .cpo_alpha = 0})).first, logit / 0.5,
              1e-8);
  EXPECT_NEAR(gaps(Simpo({.beta = 0.5, .gamma = 0.4, .label_smoothing = 0.1})).first,
              (logit + 0.4) / 0.5, 1e-8);
}

TEST_F(Minimiser, OfHingesHasAtLeastTheirMargin) {
  EXPECT_GE(gaps(Hinge({.beta = 0.5})).second, 2 - 1e-9);
  EXPECT_GE(gaps(Slic({.delta = 3, .nll_weight = 0})).first, 3 - 1e-9);
}

TEST_F(Minimiser, OfSquaredLossesHasTheirMargin) {
  EXPECT_NEAR(gaps(Ipo({.beta = 0.25})).second, 2, 1e-8);
  EXPECT_NEAR(gaps(Cpo({.beta = 0.25, .cpo_alpha = 0, .form = "ipo"})).first, 2, 1e-8);
}

}  // namespace
}  // namespace luce::oracle
