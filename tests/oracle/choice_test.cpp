#include "luce/oracle/choice.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/oracle/calculus.h"
#include "luce/oracle/table.h"
#include "support/support.h"

namespace luce::oracle {
namespace {

using test::close;

Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(BradleyTerry, IsEvenForEqualsAndSumsToOneBothWays) {
  const Tensor p = bradley_terry(f64({1, 1, 1 + std::log(3.0)}));
  EXPECT_TRUE(close(p + p.t(), at::ones({3, 3}), 1e-15));
  EXPECT_NEAR(p[0][1].item<double>(), 0.5, 1e-15);
  EXPECT_NEAR(p[2][0].item<double>(), 0.75, 1e-15);
}

TEST(BradleyTerry, MakesATableForEachPrompt) {
  const Tensor r = normal({2, 3}, 1);
  EXPECT_TRUE(close(bradley_terry(r)[1], bradley_terry(r[1]), 0));
}

TEST(Mixture, AsksEachRaterAsOftenAsItsWeightSays) {
  const Tensor first = f64({0, 1, 2}), second = f64({3, -1, 0});
  EXPECT_TRUE(close(mixture(f64({0.25, 0.75}), at::stack({first, second})),
                    0.25 * bradley_terry(first) + 0.75 * bradley_terry(second), 1e-15));
}

TEST(PlackettLuce, IsTheProductOfChoicesFromWhatIsLeft) {
  const Tensor s = f64({std::log(1.0), std::log(2.0), std::log(5.0)}).requires_grad_(true);
  const Tensor logp = plackett_luce(s, {1, 2, 0});
  EXPECT_NEAR(logp.item<double>(), std::log(2.0 / 8 * 5 / 6), 1e-15);
  const auto value = [](const Tensor& at) { return plackett_luce(at, {1, 2, 0}).item<double>(); };
  EXPECT_LT(test::gradient_error(value, s, gradient(logp, s)), 1e-8);
}

TEST(Permutations, AreAllOrdersInTheOrderOfADictionary) {
  using Orders = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(permutations(3),
            (Orders{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}));
  EXPECT_EQ(permutations(5).size(), 120u);
}

TEST(PsiOptimum, IsTheMaximumOfItsObjective) {
  const Tensor log_ref = log_policy(normal({3}, 2)), mu = f64({0.5, 0.2, 0.3});
  const Tensor p = bradley_terry(normal({3}, 3));
  const auto square = [](const Tensor& q) { return q.square(); };
  // J(π) = E_π E_μ Ψ(p) − τ KL(π ‖ π_ref)
  const KlObjective j{log_ref, p.square().matmul(mu), 0.4};
  const auto loss = [&](const Tensor& logits) { return -j.value(log_policy(logits)); };
  EXPECT_TRUE(close(psi_optimum(log_ref, p, mu, square, 0.4), log_policy(minimise(loss, log_ref).x),
                    1e-10));
}

TEST(WinRate, OfTheOnlyAnswerIsAHalf) {
  const Tensor p = bradley_terry(normal({3}, 4));
  EXPECT_TRUE(close(win_rate(p, f64({0, 1, 0})), p.select(1, 1), 1e-15));
  EXPECT_NEAR(win_rate(p, f64({0, 1, 0}))[1].item<double>(), 0.5, 1e-15);
}

TEST(AveragedSelfPlay, GoesToTheBestAnswerWhereThereIsOne) {
  const Tensor p = bradley_terry(f64({0, 2, 1})), start = f64({0.4, 0.2, 0.4});
  EXPECT_TRUE(close(averaged_self_play(p, start, 1, 4000), f64({0, 1, 0}), 0.02));
}

TEST(RegularisedNash, AnswersItselfAndStaysAtTheReferenceForLargeTau) {
  const Tensor log_ref = log_policy(normal({4}, 5)), p = bradley_terry(normal({4}, 6));
  for (const double tau : {0.1, 0.5, 5.0}) {
    const Tensor log_p = regularised_nash(log_ref, p, tau);
    EXPECT_TRUE(close(log_policy(log_ref + win_rate(p, log_p.exp()) / tau), log_p, 1e-13)) << tau;
  }
  EXPECT_TRUE(close(regularised_nash(log_ref, p, 1e9), log_ref, 1e-8));
}

}  // namespace
}  // namespace luce::oracle
