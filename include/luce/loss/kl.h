// Kullback–Leibler divergence of a policy π to a reference, per token: from sampled tokens alone,
// or exactly over the vocabulary.
#pragma once

#include "luce/ops/tensor.h"

namespace luce {

/// Estimators from one token drawn from π, with d = log π(token) − log π_ref(token)
/// (J. Schulman, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, 2020):
enum class KlEstimator {
  k1,   // d                unbiased; as a loss its gradient is 0 in expectation
  k2,   // d²/2             biased value; its gradient is unbiased
  k3,   // e^−d + d − 1     unbiased and never negative; its gradient is biased
  abs,  // |d|
};

/// What the gradient of an estimate is.
enum class KlGradient {
  own,               // that of the estimator
  straight_through,  // that of k2, under the value of the estimator
  bias_corrected,    // that of r · estimator, r = π / π at sampling: unbiased for k1 and k3
};

struct KlOptions {
  KlEstimator estimator = KlEstimator::k3;
  KlGradient gradient = KlGradient::own;
  double max_log_ratio = 0;  // d is clamped to ± this first; 0: it is not
};

/// The estimate at every sampled token: logps and ref_logps alike, nats. Differentiable in logps;
/// ref_logps is constant. Throws ArgumentError on shapes that do not fit.
Tensor kl_estimate(const Tensor& logps, const Tensor& ref_logps, const KlOptions& options);

/// Bias-corrected with the log-probs that the tokens were drawn with: r = exp(logps − old_logps).
Tensor kl_estimate(const Tensor& logps, const Tensor& ref_logps, const Tensor& old_logps,
                   const KlOptions& options);

/// KL(π ‖ π_ref) = Σ_v π_v (log π_v − log π_ref,v) over the last dimension of whole distributions,
/// log_p and log_q [..., V] normalised. Differentiable in both. head_divergence gives the same from
/// hidden states, without the distributions.
Tensor exact_kl(const Tensor& log_p, const Tensor& log_q);

}  // namespace luce
