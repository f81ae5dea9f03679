#include <cmath>

#include "luce/base/error.h"
#include "luce/rl/advantage.h"

namespace luce {

void describe(Schema& s, AdvantageOptions& o) {
  s.field("advantage", o.estimator, "what rewards are compared with")
      .one_of({"gae", "value", "leave_one_out", "group", "group_mean", "moving", "greedy", "none"});
  s.field("action", o.action,
          "what earns a reward and has an advantage: each token, or a completion as a whole")
      .one_of({"token", "completion"});
  s.field("gamma", o.gamma, "discount γ from token to token").at_least(0).at_most(1);
  s.field("lam", o.lam, "of gae: λ; 0 trusts the values, 1 the rewards").at_least(0).at_most(1);
  s.field("scale_rewards", o.scale_rewards,
          "of group: the standard deviation that rewards are divided by")
      .one_of({"group", "batch", "none"});
  s.field("multi_objective_aggregation", o.multi_objective_aggregation,
          "of group: whether reward functions are added up before or after they are standardised")
      .one_of({"sum_then_normalize", "normalize_then_sum"});
  s.field("baseline_decay", o.baseline_decay,
          "of moving: share of the running mean that a rollout leaves")
      .at_least(0)
      .below(1);
  s.field("reward_clip_range", o.reward_clip_range,
          "[low, high] that rewards are clipped to, before KL is subtracted; null: they are not");
  s.field("whiten_rewards", o.whiten_rewards,
          "divide the rewards of all actions by their standard deviation");
  s.field("whiten_advantages", o.whiten_advantages,
          "standardise the advantages of all actions by rsqrt(variance + 1e-8)");
  s.field("normalize_advantages", o.normalize_advantages,
          "standardise the advantages of all actions by 1/(deviation + 1e-4)");
  s.field("mask_truncated_completions", o.mask_truncated_completions,
          "leave completions that ran out of length out of the loss");
}

void check(const AdvantageOptions& o) {
  if (o.reward_clip_range) {
    const std::vector<double>& range = *o.reward_clip_range;
    if (range.size() != 2 || !(range[0] < range[1]))
      throw ArgumentError("reward_clip_range must be two numbers, the lower one first");
  }
  if (o.whiten_advantages && o.normalize_advantages)
    throw ArgumentError(
        "whiten_advantages and normalize_advantages both standardise the advantages: choose one");
  if (o.gamma != 1 && o.action == "completion")
    throw ArgumentError(cat("gamma ", o.gamma,
                            " discounts from token to token, and the action is the completion: "
                            "set \"action\": \"token\", or gamma to 1"));
  if (o.multi_objective_aggregation == "sum_then_normalize") return;
  const auto refuse = [](const std::string& why) {
    throw ArgumentError("multi_objective_aggregation \"normalize_then_sum\" " + why);
  };
  if (o.estimator != "group")
    refuse(cat("belongs to \"advantage\": \"group\", not to \"", o.estimator, "\""));
  if (o.scale_rewards != "group")
    refuse(
        cat("divides each reward function by its deviation in the group: scale_rewards must be "
            "\"group\", not \"",
            o.scale_rewards, "\""));
  if (o.action != "completion")
    refuse("gives one advantage a completion: set \"action\": \"completion\"");
  if (o.reward_clip_range) refuse("never sees the weighted sum that reward_clip_range would bound");
  if (o.whiten_rewards) refuse("never sees the weighted sum that whiten_rewards would divide");
}

}  // namespace luce
