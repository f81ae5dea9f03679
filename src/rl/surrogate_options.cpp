#include <limits>

#include "luce/base/error.h"
#include "luce/rl/surrogate.h"

namespace luce {

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
}

double SurrogateOptions::below() const {
  return clip == "both" || clip == "low" ? epsilon : kInfinity;
}
double SurrogateOptions::above() const {
  return clip == "both" || clip == "high" ? epsilon_high.value_or(epsilon) : kInfinity;
}
Coupling SurrogateOptions::couples() const {
  const bool own_unit = surrogate == "gmpo" || surrogate == "vespo";
  return own_unit || importance_sampling_level != "token" ? Coupling::sequence : Coupling::token;
}

void describe(Schema& s, SurrogateOptions& o) {
  s.field("surrogate", o.surrogate, "what is made of ratio and advantage")
      .one_of({"clip", "cispo", "sapo", "gmpo", "vespo", "reinforce"});
  s.field("importance_sampling_level", o.importance_sampling_level,
          "the ratio to the policy that sampled: of tokens, their geometric mean, that value with "
          "gradients of tokens, or their product")
      .one_of({"token", "sequence", "sequence_token", "completion"});
  s.field("clip", o.clip, "sides of the ratio that are clipped")
      .one_of({"both", "low", "high", "off"});
  s.field("epsilon", o.epsilon, "the ratio is clipped below 1 − ε; of gmpo: below e^−ε")
      .alias("cliprange")
      .above(0);
  s.field("epsilon_high", o.epsilon_high,
          "the ratio is clipped above 1 + ε_high, of gmpo above e^ε_high; null: as epsilon")
      .above(0);
  s.field("delta", o.delta, "of clip: bound of the ratio before anything else; null: none")
      .above(0);
  s.field("dual_clip", o.dual_clip,
          "of clip: where the advantage A is negative, the loss is at most −c A; null: not bounded")
      .above(1);
  s.field("sapo_temperature_pos", o.sapo_temperature_pos, "of sapo: τ where A > 0").above(0);
  s.field("sapo_temperature_neg", o.sapo_temperature_neg, "of sapo: τ elsewhere").above(0);
  s.field("vespo_k_pos", o.vespo_k_pos, "of vespo: k where A ≥ 0").at_least(0);
  s.field("vespo_lambda_pos", o.vespo_lambda_pos, "of vespo: λ where A ≥ 0").above(0);
  s.field("vespo_k_neg", o.vespo_k_neg, "of vespo: k where A < 0").at_least(0);
  s.field("vespo_lambda_neg", o.vespo_lambda_neg, "of vespo: λ where A < 0").above(0);
}

void check(const SurrogateOptions& o) {
  const bool is_clip = o.surrogate == "clip";
  if (o.delta && !is_clip)
    throw ArgumentError(
        cat("delta belongs to the surrogate \"clip\", not to \"", o.surrogate, "\""));
  if (o.dual_clip && !is_clip)
    throw ArgumentError(
        cat("dual_clip belongs to the surrogate \"clip\", not to \"", o.surrogate, "\""));
  if (o.delta && o.dual_clip)
    throw ArgumentError("delta and dual_clip both bound what a bad token may cost: choose one");
  if (o.delta && o.above() < kInfinity && *o.delta <= 1 + o.above())
    throw ArgumentError(cat("delta (", *o.delta, ") must be above 1 + epsilon_high (",
                            1 + o.above(), "), or no ratio ever reaches the clip"));
  const bool no_level =
      o.surrogate == "gmpo" || o.surrogate == "vespo" || o.surrogate == "reinforce";
  if (no_level && o.importance_sampling_level != "token")
    throw ArgumentError(
        cat("importance_sampling_level \"", o.importance_sampling_level,
            "\" does nothing: the surrogate \"", o.surrogate,
            o.surrogate == "reinforce" ? "\" has no ratio" : "\" has a ratio of its own",
            "; set it to \"token\""));
}

}  // namespace luce
