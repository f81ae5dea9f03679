#include "luce/loss/kl.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

/// A policy and a reference over seven tokens, so that expectations are sums.
struct Tables {
  Tensor logits, log_p, log_q;
  Tables() {
    at::manual_seed(5);
    logits = at::randn({7}, at::kDouble).requires_grad_(true);
    log_p = at::log_softmax(logits, 0);
    log_q = at::log_softmax(at::randn({7}, at::kDouble), 0);
  }
  Tensor exact() const { return exact_kl(log_p, log_q); }
  Tensor gradient(const Tensor& scalar) const {
    return torch::autograd::grad({scalar}, {logits}, {}, true)[0];
  }
  /// Expectations over tokens drawn from π: of the estimate, and of its gradient.
  Tensor mean(const KlOptions& o) const {
    return (log_p.exp() * kl_estimate(log_p, log_q, o)).sum();
  }
  Tensor mean_gradient(const KlOptions& o) const {
    return gradient((log_p.exp().detach() * kl_estimate(log_p, log_q, o)).sum());
  }
};

TEST(KlEstimate, HasTheValuesOfItsFormulas) {
  const Tensor l = at::tensor({-1.0, -2.0, -0.5}, at::kDouble),
               r = at::tensor({-1.5, -1.0, -0.5}, at::kDouble);
  const Tensor d = l - r;
  EXPECT_TRUE(close(kl_estimate(l, r, {KlEstimator::k1}), d, 1e-15));
  EXPECT_TRUE(close(kl_estimate(l, r, {KlEstimator::k2}), d * d / 2, 1e-15));
  EXPECT_TRUE(close(kl_estimate(l, r, {KlEstimator::k3}), (-d).exp() + d - 1, 1e-15));
  EXPECT_TRUE(close(kl_estimate(l, r, {KlEstimator::abs}), d.abs(), 1e-15));
  EXPECT_TRUE(close(kl_estimate(l, r, {.estimator = KlEstimator::k1, .max_log_ratio = 0.25}),
                    at::tensor({0.25, -0.25, 0.0}, at::kDouble), 1e-15));
}

TEST(KlEstimate, IsTheExactKlOnAverageForK1AndK3) {
  const Tables t;
  const double exact = t.exact().item<double>();
  EXPECT_NEAR(t.mean({KlEstimator::k1}).item<double>(), exact, 1e-14);
  EXPECT_NEAR(t.mean({KlEstimator::k3}).item<double>(), exact, 1e-14);
  EXPECT_GT(std::abs(t.mean({KlEstimator::k2}).item<double>() - exact), 1e-3);
}

TEST(KlEstimate, HasTheExactGradientOnAverageWhereItSaysSo) {
  const Tables t;
  const Tensor want = t.gradient(t.exact());
  EXPECT_TRUE(close(t.mean_gradient({KlEstimator::k2}), want, 1e-13));
  for (const auto estimator : {KlEstimator::k1, KlEstimator::k3, KlEstimator::abs})
    EXPECT_TRUE(close(t.mean_gradient({estimator, KlGradient::straight_through}), want, 1e-13));
  for (const auto estimator : {KlEstimator::k1, KlEstimator::k3})
    EXPECT_TRUE(close(t.mean_gradient({estimator, KlGradient::bias_corrected}), want, 1e-13));
  EXPECT_TRUE(close(t.mean_gradient({KlEstimator::k1}), at::zeros({7}), 1e-13));
  EXPECT_FALSE(close(t.mean_gradient({KlEstimator::k3}), want, 1e-3));
}

TEST(KlEstimate, KeepsItsValueUnderAnotherGradient) {
  const Tables t;
  const Tensor plain = kl_estimate(t.log_p, t.log_q, {KlEstimator::k3});
  for (const auto gradient : {KlGradient::straight_through, KlGradient::bias_corrected})
    EXPECT_TRUE(close(kl_estimate(t.log_p, t.log_q, {KlEstimator::k3, gradient}), plain, 1e-14));
  const Tensor old = t.log_p - 0.5;  // drawn from an older policy: weighted by the ratio
  EXPECT_TRUE(
      close(kl_estimate(t.log_p, t.log_q, old, {KlEstimator::k3, KlGradient::bias_corrected}),
            plain * std::exp(0.5), 1e-14));
}

TEST(ExactKl, CountsNothingWhereThePolicyHasNoMass) {
  const double none = -std::numeric_limits<double>::infinity();
  const Tensor p = at::tensor({0.0, none}, at::kDouble),
               q = at::tensor({std::log(0.5), std::log(0.5)}, at::kDouble);
  EXPECT_NEAR(exact_kl(p, q).item<double>(), std::log(2.0), 1e-15);
}

TEST(KlEstimate, SaysWhatDoesNotFit) {
  EXPECT_EQ(
      test::message_of<ArgumentError>([] { kl_estimate(at::zeros({2}), at::zeros({3}), {}); }),
      "[kl_estimate] log-probs of policy, reference and sampler must be alike; got f32 [2], "
      "f32 [3], f32 [2]");
  EXPECT_EQ(test::message_of<ArgumentError>([] { exact_kl(at::zeros({2}), at::zeros({3})); }),
            "[exact_kl] both distributions must be alike; got f32 [2], f32 [3]");
}

}  // namespace
}  // namespace luce
