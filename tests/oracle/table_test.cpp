#include "luce/oracle/table.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/loss/kl.h"
#include "luce/oracle/calculus.h"
#include "support/support.h"

namespace luce::oracle {
namespace {

using test::close;

Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(Normal, DependsOnTheSeedAloneAndHasMeanZeroAndVarianceOne) {
  const Tensor x = normal({100, 100}, 5);
  EXPECT_TRUE(close(x, normal({100, 100}, 5), 0));
  EXPECT_FALSE(close(x, normal({100, 100}, 6), 1));
  EXPECT_NEAR(x.mean().item<double>(), 0, 0.03);
  EXPECT_NEAR(x.var().item<double>(), 1, 0.05);
}

TEST(SmoothTable, HasValuesThatDependOnAllParametersAndCurve) {
  const SmoothTable f(5, 1);
  const Tensor slope = jacobian(f.value, f.theta);
  EXPECT_EQ(slope.sizes(), at::IntArrayRef({5, 4}));
  EXPECT_TRUE(slope.ne(0).all().item<bool>());
  EXPECT_GT(jacobian(gradient(f.value.sum(), f.theta), f.theta).norm().item<double>(), 0.1);
}

TEST(Policies, SumToOne) {
  for (const Tensor& log_p :
       {log_policy(normal({3, 4}, 7)), coupled_policy(normal({3, 4}, 8), normal({4}, 9), f64({2}))})
    EXPECT_TRUE(close(log_p.exp().sum(-1), at::ones({3}), 1e-15));
}

TEST(CoupledPolicy, IsTheReferenceAtZeroAndMovesAlongItsDirection) {
  const Tensor log_ref = log_policy(normal({4}, 10)), direction = f64({1, 0, 2, -1});
  EXPECT_TRUE(close(coupled_policy(log_ref, direction, f64({0})), log_ref, 1e-15));
  const Tensor moved = coupled_policy(log_ref, direction, f64({0.5})) - log_ref;
  EXPECT_TRUE(close(moved - moved[1], 0.5 * direction, 1e-14));
}

TEST(Entropy, IsTheLogarithmOfTheNumberOfEqualAnswers) {
  EXPECT_NEAR(entropy(log_policy(at::zeros({8}, at::kDouble))).item<double>(), std::log(8.0),
              1e-15);
}

TEST(KlObjective, IsHighestAtItsOptimum) {
  const KlObjective j{log_policy(normal({4}, 11)), normal({4}, 12), 0.3};
  const auto loss = [&](const Tensor& logits) { return -j.value(log_policy(logits)); };
  const Minimum found = minimise(loss, at::zeros({4}, at::kDouble));
  EXPECT_EQ(found.stop, Stop::gradient);
  EXPECT_TRUE(close(log_policy(found.x).exp(), j.log_optimum().exp(), 1e-10));
  EXPECT_NEAR(-found.value, 0.3 * j.log_z().item<double>(), 1e-14);
}

TEST(KlObjective, HasTheGradientsOfFiniteDifferences) {
  const Tensor log_ref = log_policy(normal({4}, 13)), log_p = log_policy(normal({4}, 14));
  const Tensor reward = normal({4}, 15).requires_grad_(true);
  const auto all = [&](const Tensor& r) {
    const KlObjective j{log_ref, r, 0.3};
    return j.value(log_p) + 2 * j.log_z() + (j.log_optimum() * normal({4}, 16)).sum();
  };
  const auto value = [&](const Tensor& r) { return all(r).item<double>(); };
  EXPECT_LT(test::gradient_error(value, reward, gradient(all(reward), reward)), 1e-8);
}

TEST(KlObjective, TreatsPromptsApart) {
  const Tensor log_ref = log_policy(normal({2, 3}, 17)), reward = normal({2, 3}, 18);
  const KlObjective both{log_ref, reward, 0.7}, second{log_ref[1], reward[1], 0.7};
  EXPECT_TRUE(close(both.log_optimum()[1], second.log_optimum(), 1e-15));
  EXPECT_TRUE(close(both.value(log_ref)[1], second.value(log_ref[1]), 1e-15));
  EXPECT_TRUE(close(both.log_z()[1], second.log_z(), 1e-15));
}

}  // namespace
}  // namespace luce::oracle
