// The loss of a token: surrogate + β k_t [KL in the loss] − α H_t
//   adaptive KL, arXiv:1909.08593 section 2.2: after n completions of mean KL k,
//     β ← β (1 + clip(k/target − 1, ±0.2) n/horizon)
//   adaptive entropy, arXiv:2505.22312: after a step of mean entropy H,
//     α ← α ± step, up where H ≤ target, within [least, most]; the bonus rests while H > target
#include "luce/rl/policy_gradient.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "rl/moments.h"
#include "rl/token_metrics.h"

namespace luce {

PolicyGradient::PolicyGradient(const Options& options)
    : options_(options),
      kl_coefficient_(options.kl.place == "off" ? 0 : options.kl.beta),
      entropy_coefficient_(options.entropy.coefficient) {
  check(options_.advantage);
  check(options_.surrogate);
  const KlToReference& kl = options_.kl;
  if (kl.target && kl.place == "off")
    throw ArgumentError(
        "kl_target adapts beta, and \"kl\" is \"off\": set it to \"reward\" or \"loss\"");
  if (kl.target && kl.beta == 0)
    throw ArgumentError("kl_target multiplies beta, and beta is 0: give it a value above 0");
  if (kl.is_on() && kl.place == "reward" &&
      options_.advantage.multi_objective_aggregation == "normalize_then_sum")
    throw ArgumentError(
        "multi_objective_aggregation \"normalize_then_sum\" never sees the weighted sum that KL is "
        "subtracted from: set \"kl\" to \"loss\" or \"off\"");
  const EntropyBonus& entropy = options_.entropy;
  if (entropy.adaptive && entropy.least > entropy.most)
    throw ArgumentError(cat("entropy_coef_min (", entropy.least, ") is above entropy_coef_max (",
                            entropy.most, ")"));
}

AlgorithmNeeds PolicyGradient::needs() const {
  const std::string& estimator = options_.advantage.estimator;
  const bool compares =
      estimator == "group" || estimator == "group_mean" || estimator == "leave_one_out";
  return {.reference = options_.kl.is_on(),
          .values = options_.advantage.needs_values(),
          .greedy = estimator == "greedy",
          .entropy = options_.entropy.coefficient != 0 || options_.entropy.adaptive,
          .least_group = compares ? 2 : 1,
          .couples = options_.surrogate.couples()};
}

KlPenalty PolicyGradient::penalty() const {
  return {options_.kl.place == "reward" ? kl_coefficient_ : 0, options_.kl.options()};
}

namespace {

/// Σ_t log π_old − log π_ref of each completion with a reward: k1, which is unbiased.
std::vector<double> divergences(const Rollout& x) {
  std::vector<double> out;
  for (int64_t c = 0; c < x.num_completions(); ++c) {
    if (std::isnan(x.rewards[static_cast<size_t>(c)])) continue;
    out.push_back(0);
    for (auto t = static_cast<size_t>(x.offset[static_cast<size_t>(c)]);
         t < static_cast<size_t>(x.offset[static_cast<size_t>(c) + 1]); ++t)
      out.back() += x.old_logps[t] - x.ref_logps[t];
  }
  return out;
}

void expect_reference(const Rollout& x) {
  const auto tokens = static_cast<size_t>(x.num_tokens());
  if (x.old_logps.size() != tokens || x.ref_logps.size() != tokens)
    throw ArgumentError(
        "[PolicyGradient] KL to the reference needs the log-probs of policy and reference");
}

/// What KL in the reward costs, a token and a completion.
void log_penalty(const Rollout& x, const KlPenalty& penalty, Metrics& metrics) {
  KlOptions own = penalty.kl;
  own.gradient = KlGradient::own;
  const Tensor k =
      kl_estimate(at::tensor(x.old_logps, at::kDouble), at::tensor(x.ref_logps, at::kDouble), own);
  for (int64_t c = 0; c < x.num_completions(); ++c) {
    const double reward = x.rewards[static_cast<size_t>(c)];
    if (std::isnan(reward)) continue;
    const int64_t begin = x.offset[static_cast<size_t>(c)];
    const double sum = k.slice(0, begin, begin + x.length(c)).sum().item<double>();
    metrics.add("kl", sum, static_cast<double>(x.length(c)));
    metrics.add("objective/non_score_reward", -penalty.coefficient * sum, 1);
    metrics.add("objective/rlhf_reward", reward - penalty.coefficient * sum, 1);
  }
}

/// The sum over each completion, at all of its tokens.
Tensor summed(const Tensor& x, const std::vector<int64_t>& offset) {
  return at_tokens(TokenValues{x, offset}.sum(), offset).to(x.scalar_type());
}

}  // namespace

Advantages PolicyGradient::advantages(const Rollout& rollout, Metrics& metrics) const {
  Advantages out =
      estimate_advantages(rollout, options_.advantage, penalty(), baseline_.value_or(0));
  if (options_.advantage.estimator == "moving") metrics.set("baseline", baseline_.value_or(0));
  if (!options_.kl.is_on()) return out;
  expect_reference(rollout);
  metrics.set("kl_coef", kl_coefficient_);
  for (const double kl : divergences(rollout)) metrics.add("objective/kl", kl, 1);
  if (options_.kl.place == "reward") log_penalty(rollout, penalty(), metrics);
  return out;
}

/// k_t at every token; bias-corrected by the ratio of the surrogate's level.
Tensor PolicyGradient::kl_loss(const PolicyInputs& x, Metrics& metrics) const {
  if (!x.ref_logps.defined())
    throw ArgumentError("[PolicyGradient] KL in the loss needs the log-probs of the reference");
  const std::string& level = options_.surrogate.importance_sampling_level;
  KlOptions options = options_.kl.options();
  const bool corrected = options.gradient == KlGradient::bias_corrected;
  if (corrected) options.gradient = KlGradient::own;
  Tensor k = kl_estimate(x.logps.values, x.ref_logps, options);
  const Tensor ratio = corrected ? importance_ratio(x.logps, x.old_logps, level) : Tensor();
  if (corrected && level != "completion") k = k * ratio;
  TokenMetrics tokens(x, "token");
  tokens.add("kl", k);
  tokens.log(metrics);
  if (level != "completion") return k;
  k = summed(k, x.logps.offset);
  return corrected ? k * ratio : k;
}

double PolicyGradient::entropy_coefficient() const {
  const bool rests =
      options_.entropy.adaptive && !(last_entropy_ && *last_entropy_ <= options_.entropy.target);
  return rests ? 0 : entropy_coefficient_;
}

Tensor PolicyGradient::operator()(const PolicyInputs& x, Metrics& metrics) const {
  Tensor loss = surrogate_loss(x, options_.surrogate, metrics);
  TokenMetrics tokens(x, "token");
  tokens.add("loss/policy_avg", loss);
  if (x.importance.defined()) loss = loss * x.importance;
  if (options_.kl.place == "loss" && kl_coefficient_ > 0)
    loss = loss + kl_coefficient_ * kl_loss(x, metrics);
  if (needs().entropy) {
    if (!x.entropy.defined())
      throw ArgumentError("[PolicyGradient] the entropy bonus needs the entropy of every token");
    metrics.set("entropy_coef", entropy_coefficient_);
    const bool whole = options_.surrogate.importance_sampling_level == "completion";
    loss = loss - entropy_coefficient() * (whole ? summed(x.entropy, x.logps.offset) : x.entropy);
  }
  tokens.log(metrics);
  return loss;
}

Tensor PolicyGradient::value_loss(const ValueInputs& x, Metrics& metrics) const {
  return options_.vf_coef * clipped_value_loss(x, options_.cliprange_value, metrics);
}

void PolicyGradient::observe(const Rollout& rollout) {
  const AdvantageOptions& a = options_.advantage;
  if (a.estimator == "moving") {
    const Moments m = moments_of(episodes_of(rollout, a, penalty()).totals);
    if (m.count > 0)
      baseline_ =
          baseline_ ? a.baseline_decay * *baseline_ + (1 - a.baseline_decay) * m.mean : m.mean;
  }
  if (!options_.kl.target) return;
  expect_reference(rollout);
  const Moments kl = moments_of(divergences(rollout));
  const double error = std::clamp(kl.mean / *options_.kl.target - 1, -0.2, 0.2);
  if (kl.count > 0) kl_coefficient_ *= 1 + error * kl.count / options_.kl.horizon;
}

void PolicyGradient::after_step(const Metrics& step) {
  const EntropyBonus& e = options_.entropy;
  if (!e.adaptive || !step.has("entropy")) return;
  last_entropy_ = step.mean("entropy");
  const double change = *last_entropy_ <= e.target ? e.step : -e.step;
  entropy_coefficient_ = std::clamp(entropy_coefficient_ + change, e.least, e.most);
}

}  // namespace luce
