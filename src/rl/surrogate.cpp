// What a policy is trained on, at each token, r: the ratio (surrogate.h), A: the advantage
//   clip       −min(r A, clip(r, 1−ε, 1+ε_high) A)                      PPO, arXiv:1707.06347 eq. 7
//              delta: r ← min(r, δ) first (arXiv:2505.07291)
//              dual_clip: at most −c A where A < 0 (arXiv:1912.09729 eq. 5)
//   cispo      −sg(clip(r, 1−ε, 1+ε_high)) A log π                      arXiv:2506.13585 eq. 4
//   sapo       −A σ(τ (r−1)) 4/τ, τ by the sign of A                    arXiv:2511.20347
//   gmpo       −A exp(mean over the completion of d, d clipped to [−ε, ε_high] on the side where
//              A d would grow)                                          arXiv:2507.20673
//   vespo      −sg(φ) A log π, φ = w^k e^(λ (1−w)), w = e^(Σd), k and λ by the sign of A
//                                                                       arXiv:2602.10693
//   reinforce  −A log π
#include "luce/rl/surrogate.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "luce/base/error.h"
#include "rl/token_metrics.h"

namespace luce {

Tensor at_tokens(const Tensor& values, const std::vector<int64_t>& offset) {
  std::vector<int64_t> length;
  for (size_t c = 0; c + 1 < offset.size(); ++c) length.push_back(offset[c + 1] - offset[c]);
  return values.repeat_interleave(at::tensor(length, at::kLong).to(values.device()));
}

namespace {

constexpr double kMaxLogRatio = 20;
const double kMinLogWeight = std::log(1e-8);  // of vespo

Tensor bounded(const Tensor& log_ratio) { return log_ratio.clamp(-kMaxLogRatio, kMaxLogRatio); }

/// d, in f64 for sums over completions.
TokenValues log_ratios(const TokenValues& logps, const Tensor& old_logps) {
  return {(logps.values - old_logps).to(at::kDouble), logps.offset};
}

/// The value of `ratio`, with the gradient of ratio · exponent.
Tensor with_gradient_of(const Tensor& exponent, const Tensor& ratio) {
  return ratio.detach() * (1 + exponent - exponent.detach());
}

}  // namespace

Tensor importance_ratio(const TokenValues& logps, const Tensor& old_logps,
                        const std::string& level) {
  const Tensor d = logps.values - old_logps;
  if (level == "token") return bounded(d).exp();
  const TokenValues exact = log_ratios(logps, old_logps);
  if (level == "completion") {
    const Tensor sum = exact.sum(), length = at_tokens(exact.length(), exact.offset);
    const Tensor inside = at_tokens(sum.abs().le(kMaxLogRatio), exact.offset);
    const Tensor ratio = at_tokens(bounded(sum).exp(), exact.offset);
    return with_gradient_of(exact.values * length * inside, ratio).to(d.scalar_type());
  }
  const Tensor s = at_tokens(bounded(exact.mean()).exp(), exact.offset).to(d.scalar_type());
  if (level == "sequence") return s;
  if (level == "sequence_token") return with_gradient_of(logps.values, s);
  throw ArgumentError(cat("[importance_ratio] unknown level \"", level, "\""));
}

namespace {

/// What a surrogate gives: its loss, and what its metrics are counted by.
struct Surrogate {
  Tensor loss, ratio;
  double low = 0, high = 0;  // the ratio is clipped below and above
};

Surrogate clipped(const PolicyInputs& x, const SurrogateOptions& o) {
  Tensor r = importance_ratio(x.logps, x.old_logps, o.importance_sampling_level);
  if (o.delta) r = r.clamp_max(*o.delta);
  const double low = 1 - o.below(), high = 1 + o.above();
  Tensor loss = -at::minimum(r * x.advantages, r.clamp(low, high) * x.advantages);
  if (o.dual_clip)
    loss = at::where(x.advantages.lt(0), at::minimum(loss, -*o.dual_clip * x.advantages), loss);
  return {loss, r.detach(), low, high};
}

Surrogate cispo(const PolicyInputs& x, const SurrogateOptions& o) {
  const Tensor r = importance_ratio(x.logps, x.old_logps, o.importance_sampling_level).detach();
  const double low = 1 - o.below(), high = 1 + o.above();
  return {-r.clamp(low, high) * x.advantages * x.logps.values, r, low, high};
}

Surrogate sapo(const PolicyInputs& x, const SurrogateOptions& o) {
  const Tensor r = importance_ratio(x.logps, x.old_logps, o.importance_sampling_level);
  const Tensor tau = at::where(x.advantages.gt(0), at::full_like(r, o.sapo_temperature_pos),
                               at::full_like(r, o.sapo_temperature_neg))
                         .detach();
  return {-x.advantages * at::sigmoid(tau * (r - 1)) * 4 / tau, r.detach()};
}

Surrogate gmpo(const PolicyInputs& x, const SurrogateOptions& o) {
  const TokenValues d = log_ratios(x.logps, x.old_logps);
  const Tensor free = bounded(d.values), held = free.clamp(-o.below(), o.above());
  const TokenValues one_sided{
      at::where(x.advantages.gt(0), at::minimum(free, held), at::maximum(free, held)), d.offset};
  const Tensor g = at_tokens(one_sided.mean().exp(), d.offset).to(x.advantages.scalar_type());
  return {-g * x.advantages, free.detach().exp(), std::exp(-o.below()), std::exp(o.above())};
}

Surrogate vespo(const PolicyInputs& x, const SurrogateOptions& o) {
  TokenValues d = log_ratios(x.logps, x.old_logps);
  d.values = bounded(d.values.detach());
  const Tensor log_w = at_tokens(d.sum().clamp(kMinLogWeight, kMaxLogRatio), d.offset);
  const auto by_sign = [&](double positive, double negative) {
    return at::where(x.advantages.ge(0), at::full_like(log_w, positive),
                     at::full_like(log_w, negative));
  };
  const Tensor k = by_sign(o.vespo_k_pos, o.vespo_k_neg),
               lambda = by_sign(o.vespo_lambda_pos, o.vespo_lambda_neg);
  const Tensor phi =
      (lambda + k * log_w - lambda * log_w.exp()).exp().to(x.advantages.scalar_type());
  return {-phi * x.advantages * x.logps.values, phi};
}

}  // namespace

Tensor surrogate_loss(const PolicyInputs& x, const SurrogateOptions& o, Metrics& metrics) {
  const std::string& kind = o.surrogate;
  TokenMetrics tokens(x, kind != "clip" && kind != "cispo" && kind != "sapo"
                             ? "token"
                             : o.importance_sampling_level);
  Surrogate term;
  if (kind == "clip" || kind == "gmpo") {
    term = kind == "clip" ? clipped(x, o) : gmpo(x, o);
    tokens.add_clipped(term.ratio, term.low, term.high, metrics);
  } else if (kind == "cispo") {
    term = cispo(x, o);
    tokens.add("cispo_clip_ratio", term.ratio.gt(term.high).logical_and(x.advantages.gt(0)));
  } else if (kind == "sapo") {
    term = sapo(x, o);
  } else if (kind == "vespo") {
    term = vespo(x, o);
    tokens.add_each_completion("vespo/phi_seq_mean", term.ratio);
  } else {
    term.loss = -x.advantages * x.logps.values;
  }
  tokens.add("policy/approxkl_avg", (x.logps.values - x.old_logps).detach().square() / 2);
  if (term.ratio.defined() && kind != "vespo") tokens.add("val/ratio", term.ratio);
  tokens.log(metrics);
  return term.loss;
}

}  // namespace luce
