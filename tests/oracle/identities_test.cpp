// One test a statement, by the name that the list gives it.
#include "luce/oracle/identities.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace luce::oracle {
namespace {

/// The statement of this number and name, computed.
void expect_identity(int number, const std::string& name) {
  const Identity& identity = identities().at(static_cast<size_t>(number - 1));
  ASSERT_EQ(identity.number, number);
  ASSERT_EQ(identity.name, name);
  const Result result = identity.check();
  EXPECT_TRUE(result.holds()) << identity.statement << "\ndeviation " << result.deviation
                              << ", bound " << result.bound << "\n"
                              << result.figure;
}

#define LUCE_IDENTITY(number, name) \
  TEST(Identity, name) { expect_identity(number, #name); }

LUCE_IDENTITY(1, GradientOfLogSumExp)
LUCE_IDENTITY(2, ScoreOfASoftmax)
LUCE_IDENTITY(3, GradientOfBradleyTerry)
LUCE_IDENTITY(4, GenerativePreferenceIsDpo)
LUCE_IDENTITY(5, RewardsAreFixedUpToAConstant)
LUCE_IDENTITY(6, ObjectiveIsADistanceToTheOptimum)
LUCE_IDENTITY(7, RewardFromTheOptimum)
LUCE_IDENTITY(8, PartitionFunctionCancels)
LUCE_IDENTITY(9, ScoreOfTheOptimum)
LUCE_IDENTITY(10, DpoOfTheOptimumIsTheRewardModel)
LUCE_IDENTITY(11, PolicyGradientOfDpo)
LUCE_IDENTITY(12, GradientOfRegularisedGenerativePreference)
LUCE_IDENTITY(13, GradientOnAnUnseenAnswer)
LUCE_IDENTITY(14, KlAsEntropyAndCrossEntropy)
LUCE_IDENTITY(15, BetaIsTheScaleOfTheReward)
LUCE_IDENTITY(16, OddsMultiply)
LUCE_IDENTITY(17, PsiWithLogitIsRlhf)
LUCE_IDENTITY(18, OptimumOfPsi)
LUCE_IDENTITY(19, CertainPreferences)
LUCE_IDENTITY(20, SlopeOfPsi)
LUCE_IDENTITY(21, DpoSeesAQuotient)
LUCE_IDENTITY(22, DpoLeavesOtherLogitsAlone)
LUCE_IDENTITY(23, DpoRecoversTheOptimum)
LUCE_IDENTITY(24, WeightsOfSlic)
LUCE_IDENTITY(25, PolicyGradient)
LUCE_IDENTITY(26, BaselinesCostNothing)
LUCE_IDENTITY(27, DiscountedPolicyGradient)
LUCE_IDENTITY(28, ValuesAndAdvantages)
LUCE_IDENTITY(29, ImportanceSampling)
LUCE_IDENTITY(30, SlopeOfTheClippedRatio)
LUCE_IDENTITY(31, SurrogateIsNoObjective)
LUCE_IDENTITY(32, LeaveOneOutIsUnbiased)
LUCE_IDENTITY(33, GroupStatisticsBiasTheUpdate)
LUCE_IDENTITY(34, KlByTokens)
LUCE_IDENTITY(35, KlInTheReward)
LUCE_IDENTITY(36, PlackettLuceAndItsMarginals)
LUCE_IDENTITY(37, MarginShiftsTheWeight)
LUCE_IDENTITY(38, TiesAndSoftLabels)
LUCE_IDENTITY(39, RejectionSamplingDrawsTheOptimum)
LUCE_IDENTITY(40, ACycleHasNoReward)
LUCE_IDENTITY(41, ScaleAndShiftOfRewards)
LUCE_IDENTITY(42, WeightsOfUnlikelihood)

TEST(Identities, AreFortyTwoWithStatementsOfTheirOwn) {
  std::set<std::string> names, statements;
  for (const Identity& identity : identities()) {
    names.insert(identity.name);
    statements.insert(identity.statement);
  }
  EXPECT_EQ(identities().size(), 42u);
  EXPECT_EQ(names.size(), 42u);
  EXPECT_EQ(statements.size(), 42u);
}

TEST(Result, HoldsWithinItsBoundAndNeverForNaN) {
  EXPECT_TRUE((Result{1e-8, 1e-8}.holds()));
  EXPECT_FALSE((Result{1.1e-8, 1e-8}.holds()));
  EXPECT_FALSE((Result{NAN, 1e-8}.holds()));
}

TEST(Result, OfSeveralPartsIsTheWorst) {
  const Result out = worst({1e-9, -2e-8, 5e-9}, "a figure");
  EXPECT_EQ(out.deviation, 2e-8);
  EXPECT_EQ(out.bound, 1e-8);
  EXPECT_EQ(out.figure, "a figure");
  EXPECT_FALSE(worst({1e-9, NAN, 5e-9}, "").holds());
}

TEST(FigureError, IsZeroWhereRoundingGivesThePrintedDigits) {
  const Tensor got = at::tensor({0.12345, -1.9996}, at::kDouble);
  EXPECT_NEAR(figure_error(got, {0.123, -2.000}, 1e-3), 0, 1e-15);
  EXPECT_NEAR(figure_error(got, {0.124, -2.000}, 1e-3), 1e-3, 1e-15);
}

TEST(Figures, AreOneNumberOrAListToSoManyDigits) {
  EXPECT_EQ(figures(at::tensor(0.1234567, at::kDouble), 3), "0.123");
  EXPECT_EQ(figures(at::tensor({0.5, -1.0 / 3}, at::kDouble), 4), "(0.5, -0.3333)");
}

}  // namespace
}  // namespace luce::oracle
