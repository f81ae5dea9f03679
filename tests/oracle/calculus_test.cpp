#include "luce/oracle/calculus.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/oracle/table.h"
#include "support/support.h"

namespace luce::oracle {
namespace {

using test::close;

Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(Gradient, EqualsFiniteDifferencesAndIsZeroOfAConstant) {
  const auto f = [](const Tensor& x) { return (x.sin() * x.roll(1, 0)).sum(); };
  const Tensor x = normal({4}, 1).requires_grad_(true);
  const auto value = [&](const Tensor& at) { return f(at).item<double>(); };
  EXPECT_LT(test::gradient_error(value, x, gradient(f(x), x)), 1e-8);
  EXPECT_TRUE(close(gradient(at::tensor(3.0, at::kDouble), x), at::zeros({4}), 0));
  EXPECT_TRUE(close(gradient(normal({4}, 2).requires_grad_(true).sum(), x), at::zeros({4}), 0));
}

TEST(Jacobian, HasARowForEveryValueAndCanBeDifferentiatedAgain) {
  const Tensor x = f64({2, 3}).requires_grad_(true);
  const Tensor values = at::stack({x[0] * x[1], x[0].square()});
  EXPECT_TRUE(close(jacobian(values, x), f64({3, 2, 4, 0}).view({2, 2}), 1e-15));
  const Tensor hessian = jacobian(gradient(x[0] * x[0] * x[1], x), x);
  EXPECT_TRUE(close(hessian, f64({6, 4, 4, 0}).view({2, 2}), 1e-15));
}

TEST(Deviation, IsTheLargestDifferenceAndKeepsNaN) {
  EXPECT_EQ(largest(f64({1, -2, 1.5})), 2);
  EXPECT_EQ(deviation(f64({1, 2, 3}), f64({1, 4, 2})), 2);
  EXPECT_TRUE(std::isnan(deviation(f64({1, NAN}), f64({1, 1}))));
}

TEST(Minimise, FindsTheMinimumOfABananaValley) {
  const auto rosenbrock = [](const Tensor& x) {
    return (1 - x[0]).square() + 100 * (x[1] - x[0].square()).square();
  };
  const Minimum found = minimise(rosenbrock, f64({-1.2, 1}));
  EXPECT_EQ(found.stop, Stop::gradient);
  EXPECT_LE(found.gradient_norm, 1e-12);
  EXPECT_TRUE(close(found.x, f64({1, 1}), 1e-12));
  EXPECT_NEAR(found.value, 0, 1e-20);
  EXPECT_GT(found.iterations, 5);
}

TEST(Minimise, GoesDownhillFromASaddleAndAlongFlatDirections) {
  const auto well = [](const Tensor& x) { return (x[0].square() - 1).square() + x[1].square(); };
  const Tensor start = f64({0.01, 1});  // the curvature of x[0] is negative here
  EXPECT_TRUE(close(minimise(well, start).x, f64({1, 0}), 1e-10));
  const auto cross_entropy = [](const Tensor& logits) {  // logits + c is as good as logits
    return -(f64({0.2, 0.3, 0.5}) * log_policy(logits)).sum();
  };
  const Minimum fit = minimise(cross_entropy, f64({3, -4, 1}));
  EXPECT_EQ(fit.stop, Stop::gradient);
  EXPECT_TRUE(close(at::softmax(fit.x, 0), f64({0.2, 0.3, 0.5}), 1e-11));
}

TEST(Minimise, SaysWhyItEndedWithoutAMinimum) {
  const auto kink = [](const Tensor& x) { return (x - 0.3).abs().sum(); };
  const Minimum at_kink = minimise(kink, f64({2}));
  EXPECT_EQ(at_kink.stop, Stop::stalled);
  EXPECT_TRUE(close(at_kink.x, f64({0.3}), 1e-9));
  const auto overflowing = [](const Tensor& x) { return -x.exp().sum(); };
  const Minimum at_the_end = minimise(overflowing, f64({1}));
  EXPECT_NE(at_the_end.stop, Stop::gradient);
  EXPECT_TRUE(std::isfinite(at_the_end.value));
  const auto endless = [](const Tensor& x) { return -at::log1p(x.square()).sum(); };
  const Minimum away = minimise(endless, f64({1}), {.max_iterations = 7});
  EXPECT_EQ(away.stop, Stop::iterations);
  EXPECT_EQ(away.iterations, 7);
}

TEST(Minimise, RefusesAStartWithoutAValue) {
  const auto f = [](const Tensor& x) { return x.log().sum(); };
  EXPECT_EQ(test::message_of<ArgumentError>([&] { minimise(f, f64({-1})); }),
            "[minimise] the function and its gradient must be finite at the start; got nan and a "
            "gradient of norm 1");
}

}  // namespace
}  // namespace luce::oracle
