#include "luce/loss/kl.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"

namespace luce {
namespace {

Tensor value_of(KlEstimator estimator, const Tensor& d) {
  switch (estimator) {
    case KlEstimator::k1:
      return d;
    case KlEstimator::k2:
      return d.square() / 2;
    case KlEstimator::k3:
      return at::expm1(-d) + d;
    case KlEstimator::abs:
      return d.abs();
  }
  throw ArgumentError("[kl_estimate] unknown estimator");
}

}  // namespace

Tensor kl_estimate(const Tensor& logps, const Tensor& ref_logps, const KlOptions& options) {
  return kl_estimate(logps, ref_logps, logps.detach(), options);
}

Tensor kl_estimate(const Tensor& logps, const Tensor& ref_logps, const Tensor& old_logps,
                   const KlOptions& o) {
  if (logps.sizes() != ref_logps.sizes() || logps.sizes() != old_logps.sizes())
    throw ArgumentError(
        cat("[kl_estimate] log-probs of policy, reference and sampler must be "
            "alike; got ",
            shown(logps), ", ", shown(ref_logps), ", ", shown(old_logps)));
  Tensor d = logps - ref_logps.detach();
  if (o.max_log_ratio > 0) d = d.clamp(-o.max_log_ratio, o.max_log_ratio);
  const Tensor value = value_of(o.estimator, d);
  if (o.gradient == KlGradient::straight_through) {
    const Tensor k2 = value_of(KlEstimator::k2, d);
    return k2 + (value - k2).detach();
  }
  if (o.gradient == KlGradient::bias_corrected) return (logps - old_logps.detach()).exp() * value;
  return value;
}

Tensor exact_kl(const Tensor& log_p, const Tensor& log_q) {
  if (log_p.sizes() != log_q.sizes())
    throw ArgumentError(
        cat("[exact_kl] both distributions must be alike; got ", shown(log_p), ", ", shown(log_q)));
  const Tensor p = log_p.exp();
  return at::where(p.eq(0), at::zeros_like(p), p * (log_p - log_q)).sum(-1);
}

}  // namespace luce
