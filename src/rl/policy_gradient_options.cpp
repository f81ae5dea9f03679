// Options of PolicyGradient, and what it keeps in a checkpoint.
#include "luce/base/error.h"
#include "luce/rl/policy_gradient.h"

namespace luce {

KlOptions KlToReference::options() const {
  return {.estimator = estimator == "k1"   ? KlEstimator::k1
                       : estimator == "k2" ? KlEstimator::k2
                       : estimator == "k3" ? KlEstimator::k3
                                           : KlEstimator::abs,
          .gradient = gradient == "own"                ? KlGradient::own
                      : gradient == "straight_through" ? KlGradient::straight_through
                                                       : KlGradient::bias_corrected,
          .max_log_ratio = max_log_ratio};
}

namespace {

void describe_kl(Schema& s, KlToReference& o) {
  s.field("kl", o.place, "where KL to the reference is counted").one_of({"off", "reward", "loss"});
  s.field("beta", o.beta, "factor of the KL; 0: no reference is needed")
      .alias("kl_coef")
      .at_least(0);
  s.field("kl_estimator", o.estimator, "of d = log π − log π_ref: d, d²/2, e^−d + d − 1, |d|")
      .one_of({"k1", "k2", "k3", "abs"});
  s.field("kl_gradient", o.gradient,
          "in the loss: the estimator's own gradient, that of k2, or that of ratio · estimate")
      .one_of({"own", "straight_through", "bias_corrected"});
  s.field("kl_max_log_ratio", o.max_log_ratio, "d is clamped to ± this first; 0: it is not")
      .at_least(0);
  s.field("kl_target", o.target,
          "nats a completion that beta is adapted to reach; null: beta stays")
      .above(0);
  s.field("kl_horizon", o.horizon, "of kl_target: completions over which beta adapts").above(0);
}

void describe_entropy(Schema& s, EntropyBonus& o) {
  s.field("entropy_coef", o.coefficient, "factor of the entropy bonus");
  s.field("use_adaptive_entropy", o.adaptive, "move entropy_coef towards entropy_target");
  s.field("entropy_target", o.target, "nats a token; above it the bonus rests").at_least(0);
  s.field("entropy_coef_delta", o.step, "how far entropy_coef moves in a step").above(0);
  s.field("entropy_coef_min", o.least, "least entropy_coef").at_least(0);
  s.field("entropy_coef_max", o.most, "largest entropy_coef").at_least(0);
}

}  // namespace

void describe(Schema& s, PolicyGradientOptions& o) {
  describe(s, o.advantage);
  describe(s, o.surrogate);
  describe_kl(s, o.kl);
  describe_entropy(s, o.entropy);
  s.field("vf_coef", o.vf_coef, "factor of the value model's loss").at_least(0);
  s.field("cliprange_value", o.cliprange_value,
          "how far a value may move from the sampled one and lower its loss; 0: any")
      .at_least(0);
  s.field("aggregation", o.aggregation, "how the losses of tokens become one number")
      .one_of({"token_mean", "sequence_mean", "sequence_sum", "fixed_length"});
  s.field("num_iterations", o.num_iterations, "passes over each rollout")
      .alias("num_ppo_epochs")
      .at_least(1);
  s.field("minibatches", o.minibatches, "optimizer steps of a pass")
      .alias("num_mini_batches")
      .at_least(1);
}

Aggregation PolicyGradient::aggregation() const {
  return options_.aggregation == "token_mean"      ? Aggregation::token_mean
         : options_.aggregation == "sequence_mean" ? Aggregation::sequence_mean
         : options_.aggregation == "sequence_sum"  ? Aggregation::sequence_sum
                                                   : Aggregation::fixed_length;
}

namespace {

Json or_null(const std::optional<double>& x) { return x ? Json(*x) : Json(nullptr); }

std::optional<double> number_or_null(const Json& x) {
  return x.is_null() ? std::nullopt : std::optional<double>(x.get<double>());
}

}  // namespace

Json PolicyGradient::state() const {
  Json out = Json::object();
  if (options_.kl.target) out["kl_coef"] = kl_coefficient_;
  if (options_.advantage.estimator == "moving") out["baseline"] = or_null(baseline_);
  if (options_.entropy.adaptive) {
    out["entropy_coef"] = entropy_coefficient_;
    out["entropy"] = or_null(last_entropy_);
  }
  return out.empty() ? Json(nullptr) : out;
}

void PolicyGradient::load_state(const Json& state) {
  const Json own = this->state();
  bool fits = state.is_object() == own.is_object() && state.size() == own.size();
  for (const auto& [key, value] : own.items()) {
    const bool may_lack = key == "baseline" || key == "entropy";
    fits = fits && state.contains(key) &&
           (state[key].is_number() || (may_lack && state[key].is_null()));
  }
  if (!fits)
    throw DataError(cat("the checkpoint holds the state of another algorithm: ", state.dump(),
                        " where ", own.dump(), " was expected"));
  if (own.contains("kl_coef")) kl_coefficient_ = state["kl_coef"].get<double>();
  if (own.contains("baseline")) baseline_ = number_or_null(state["baseline"]);
  if (!own.contains("entropy")) return;
  entropy_coefficient_ = state["entropy_coef"].get<double>();
  last_entropy_ = number_or_null(state["entropy"]);
}

}  // namespace luce
