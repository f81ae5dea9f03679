#include "luce/rl/advantage.h"

#include <cmath>

#include "luce/base/error.h"
#include "rl/rollouts.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;
using test::f64;
using test::message_of;
using test::Numbers;
using test::rollout_of;

AdvantageOptions with(const std::string& estimator, const std::string& action = "completion") {
  AdvantageOptions o;
  o.estimator = estimator;
  o.action = action;
  return o;
}

Numbers advantages(const Rollout& rollout, const AdvantageOptions& o, const KlPenalty& kl = {},
                   double baseline = 0) {
  return estimate_advantages(rollout, o, kl, baseline).advantages;
}

void expect(const Numbers& got, const Numbers& want) {
  EXPECT_TRUE(close(f64(got), f64(want), 1e-12));
}

/// Two prompts with three and two completions of one token each.
Rollout two_groups() { return rollout_of({1, 1, 1, 1, 1}, {3, 2}, {1, 2, 6, 4, 0}); }

TEST(Advantages, OfGroupsAreComparisonsWithinThem) {
  const Rollout x = two_groups();
  expect(advantages(x, with("none")), {1, 2, 6, 4, 0});
  expect(advantages(x, with("group_mean")), {-2, -1, 3, 2, -2});
  expect(advantages(x, with("leave_one_out")), {-3, -1.5, 4.5, 4, -4});
  // Unbiased deviations: √(14/2) and √8; of the batch, mean 2.6: √(23.2/4).
  AdvantageOptions o = with("group");
  const double a = std::sqrt(7) + 1e-4, b = std::sqrt(8) + 1e-4, c = std::sqrt(5.8) + 1e-4;
  expect(advantages(x, o), {-2 / a, -1 / a, 3 / a, 2 / b, -2 / b});
  o.scale_rewards = "batch";
  expect(advantages(x, o), {-2 / c, -1 / c, 3 / c, 2 / c, -2 / c});
  o.scale_rewards = "none";
  expect(advantages(x, o), {-2, -1, 3, 2, -2});
  expect(advantages(x, with("moving"), {}, 0.5), {0.5, 1.5, 5.5, 3.5, -0.5});
}

TEST(Advantages, OfGreedyBaselinesAreDifferencesToThem) {
  Rollout x = two_groups();
  x.greedy_rewards = {2, 5};
  expect(advantages(x, with("greedy")), {-1, 0, 4, -1, -5});
  AdvantageOptions o = with("greedy");
  o.reward_clip_range = Numbers{0, 3};
  expect(advantages(x, o), {-1, 0, 1, 0, -3});
  x.greedy_rewards[1] = NAN;  // nothing to compare with
  const Advantages out = estimate_advantages(x, with("greedy"));
  expect(out.advantages, {-1, 0, 4, 0, 0});
  EXPECT_EQ(out.counted, (std::vector<bool>{true, true, true, false, false}));
}

TEST(Advantages, LeaveCompletionsWithoutARewardOut) {
  Rollout x = rollout_of({1, 2, 1, 1, 1, 1}, {4, 2}, {1, NAN, 3, 8, NAN, 7});
  x.truncated = {false, false, true, false, false, false};
  for (const char* estimator : {"leave_one_out", "group_mean"}) {
    const double scale = estimator == std::string("leave_one_out") ? 1.5 : 1;
    expect(advantages(x, with(estimator)), {-3 * scale, 0, 0, -scale, 4 * scale, 0, 0});
  }
  AdvantageOptions o = with("leave_one_out");
  o.normalize_advantages = true;  // over the three that are compared
  const double s = std::sqrt((20.25 + 2.25 + 36) / 2) + 1e-4;
  expect(advantages(x, o), {-4.5 / s, 0, 0, -1.5 / s, 6 / s, 0, 0});
  o.mask_truncated_completions = true;
  const Advantages out = estimate_advantages(x, o);
  EXPECT_EQ(out.counted, (std::vector<bool>{true, false, true, true, false, true}));
  EXPECT_EQ(out.trained, (std::vector<bool>{true, false, false, true, false, true}));
  expect(out.advantages, {-4.5 / s, 0, 0, -1.5 / s, 6 / s, 0, 0});  // they still count in means
}

TEST(Advantages, AreExactlyNothingWhereRewardsAreEqualOrAlone) {
  const Rollout equal = rollout_of({2, 1, 3}, {3}, {0.1, 0.1, 0.1});
  const Rollout alone = rollout_of({2}, {1}, {0.7});
  for (const char* estimator : {"leave_one_out", "group", "group_mean"})
    for (const char* action : {"token", "completion"})
      for (const char* scale : {"group", "batch"}) {
        AdvantageOptions o = with(estimator, action);
        o.scale_rewards = scale;
        for (const double x : advantages(equal, o)) EXPECT_EQ(x, 0) << estimator << action;
        for (const double x : advantages(alone, o)) EXPECT_EQ(x, 0) << estimator << action;
      }
  AdvantageOptions o = with("none");
  o.whiten_advantages = true;
  for (const double x : advantages(equal, o)) EXPECT_EQ(x, 0);
}

TEST(Advantages, OfTokensAreRewardsToGoLessTheBaselineOfTheCompletion) {
  Rollout x = rollout_of({3, 1}, {2}, {2, 1});
  x.token_rewards = {0.5, 0, -1, 4};
  expect(advantages(x, with("none", "token")), {1.5, 1, 1, 5});
  AdvantageOptions o = with("none", "token");
  o.gamma = 0.5;  // r = (.5, 0, 1), (5)
  expect(advantages(x, o), {0.75, 0.5, 1, 5});
  expect(advantages(x, with("leave_one_out", "token")), {-3.5, -4, -4, 3.5});
  expect(advantages(x, with("leave_one_out")), {-3.5, -3.5, -3.5, 3.5});
}

TEST(Advantages, OfGaeAreItsSumOfTemporalDifferences) {
  Rollout x = rollout_of({3, 2}, {1, 1}, {1, -1});
  x.token_rewards = {0.5, 0.25, 0, 0, 2};
  x.values = {0.3, -0.2, 0.7, 1, 0.4};
  const double gamma = 0.9, lambda = 0.8;
  const Numbers r = {0.5, 0.25, 1, 0, 1}, next = {-0.2, 0.7, 0, 0.4, 0};
  Numbers delta, want(5, 0);
  for (size_t t = 0; t < 5; ++t) delta.push_back(r[t] + gamma * next[t] - x.values[t]);
  for (size_t t = 0; t < 5; ++t)  // A_t = Σ_l (γλ)^l δ_{t+l}
    for (size_t l = t; l < (t < 3 ? 3u : 5u); ++l)
      want[t] += std::pow(gamma * lambda, static_cast<double>(l - t)) * delta[l];
  AdvantageOptions o = with("gae", "token");
  o.gamma = gamma;
  o.lam = lambda;
  Advantages out = estimate_advantages(x, o);
  expect(out.advantages, want);
  for (size_t t = 0; t < 5; ++t) want[t] += x.values[t];
  expect(out.returns, want);
  o.whiten_advantages = true;  // the returns stay
  expect(estimate_advantages(x, o).returns, want);
  o.whiten_advantages = false;
  o.lam = 1;  // G − V
  AdvantageOptions value = with("value", "token");
  value.gamma = gamma;
  expect(advantages(x, o), advantages(x, value));
  o.lam = 0;
  expect(advantages(x, o), delta);
  // One action a completion: the value of its first state, and one return for all its tokens.
  out = estimate_advantages(x, with("gae"));
  expect(out.advantages, {1.45, 1.45, 1.45, 0, 0});
  expect(out.returns, {1.75, 1.75, 1.75, 1, 1});
}

TEST(Advantages, OfCompletionsWithoutARewardTrainValuesTowardsThemselves) {
  Rollout x = rollout_of({2, 1}, {2}, {NAN, 3});
  x.values = {0.3, 0.4, 1};
  const Advantages out = estimate_advantages(x, with("gae", "token"));
  expect(out.advantages, {0, 0, 2});
  expect(out.returns, {0.3, 0.4, 3});
}

TEST(Advantages, SubtractKlPerTokenOrSummedWhereTheActionIsTheCompletion) {
  Rollout x = rollout_of({2, 1}, {1, 1}, {1, 9});
  x.old_logps = {-1, -2, -0.5};
  x.ref_logps = {-1.5, -1, -0.25};
  const KlPenalty k1{0.1, {.estimator = KlEstimator::k1}};
  expect(advantages(x, with("none", "token"), k1), {1.05, 1.1, 9.025});
  expect(advantages(x, with("none"), k1), {1.05, 1.05, 9.025});
  AdvantageOptions o = with("none");
  o.reward_clip_range = Numbers{-2, 2};  // before the KL
  expect(advantages(x, o, k1), {1.05, 1.05, 2.025});
  KlPenalty k3{0.1, {.estimator = KlEstimator::k3}};
  const auto cost = [](double d) { return 0.1 * (std::exp(-d) + d - 1); };
  expect(advantages(x, with("none"), k3),
         {1 - cost(0.5) - cost(-1), 1 - cost(0.5) - cost(-1), 9 - cost(-0.25)});
  k3.kl.max_log_ratio = 0.5;
  expect(advantages(x, with("none", "token"), k3),
         {1 - cost(0.5) - cost(-0.5), 1 - cost(-0.5), 9 - cost(-0.25)});
}

TEST(Advantages, WhitenRewardsAroundTheirMeanAndAdvantagesToNothing) {
  const Rollout x = rollout_of({2, 1}, {1, 1}, {3, 6});  // r = 0, 3, 6: mean 3, variance 9
  AdvantageOptions o = with("none", "token");
  o.whiten_rewards = true;
  const double s = std::sqrt(9 + 1e-8);
  expect(advantages(x, o), {(3 - 3 / s) + 3, 3, 3 + 3 / s});
  o.whiten_rewards = false;
  o.whiten_advantages = true;  // 3, 3, 6: mean 4, variance 3
  const double w = std::sqrt(3 + 1e-8);
  expect(advantages(x, o), {-1 / w, -1 / w, 2 / w});
}

TEST(Advantages, MayStandardiseEachRewardFunctionFirst) {
  Rollout x = rollout_of({1, 1, 1, 1}, {2, 2}, {11, 2, 5, 5});
  x.reward_parts = {{1, 2, 3, 3}, {10, 0, 2, NAN}};
  x.reward_weights = {1, 2};
  AdvantageOptions o = with("group");
  o.multi_objective_aggregation = "normalize_then_sum";
  const double a = 0.5 / (std::sqrt(0.5) + 1e-4), b = 5 / (std::sqrt(50) + 1e-4);
  const double z = 2 * b - a;  // z, −z, and nothing: an equal pair, a function that rewarded one
  const double s = std::sqrt(2 * z * z / 3) + 1e-4;
  expect(advantages(x, o), {z / s, -z / s, 0, 0});
}

TEST(Advantages, RefuseRolloutsThatDoNotFit) {
  const auto refused = [](const Rollout& x, const AdvantageOptions& o, const KlPenalty& kl = {}) {
    return message_of<ArgumentError>([&] { estimate_advantages(x, o, kl); });
  };
  Rollout x = two_groups();
  EXPECT_EQ(refused(x, with("gae")), "[Advantages] \"gae\" needs values of every token");
  EXPECT_EQ(refused(x, with("greedy")),
            "[Advantages] \"greedy\" needs the reward of each greedy completion");
  EXPECT_EQ(refused(x, with("none"), {0.1}),
            "[Advantages] KL in the reward needs the log-probs of policy and reference");
  AdvantageOptions o = with("group");
  o.mask_truncated_completions = true;
  EXPECT_EQ(
      refused(x, o),
      "[Advantages] mask_truncated_completions needs to know which completions are truncated");
  o = with("group");
  o.multi_objective_aggregation = "normalize_then_sum";
  EXPECT_EQ(refused(x, o),
            "[Advantages] normalize_then_sum needs what each reward function gave (reward_parts)");
  x.reward_parts = {{1, 2, 3, 4, 5}};
  x.reward_weights = {1};
  x.token_rewards = {0, 0, 1, 0, 0};
  EXPECT_EQ(message_of<UsageError>([&] { estimate_advantages(x, o); }),
            "multi_objective_aggregation \"normalize_then_sum\" standardises rewards of whole "
            "completions, and there are rewards of steps: use \"sum_then_normalize\"");
  x = two_groups();
  x.rewards.pop_back();
  EXPECT_EQ(refused(x, with("none")), "[Advantages] the rollout has 4 rewards for 5 completions");
  x = two_groups();
  x.group.back() = 4;
  EXPECT_EQ(refused(x, with("none")),
            "[Advantages] the groups of the rollout end at completion 4 of 5");
  x = rollout_of({1, 0}, {2}, {1, 1});
  EXPECT_EQ(refused(x, with("none")), "[Advantages] completion 1 has no token");
}

TEST(Advantages, RefuseOptionsThatContradictEachOther) {
  const auto refused = [](auto change) {
    AdvantageOptions o;
    change(o);
    return message_of<ArgumentError>([&] { check(o); });
  };
  EXPECT_EQ(refused([](auto& o) {
              o.reward_clip_range = Numbers{1, -1};
            }),
            "reward_clip_range must be two numbers, the lower one first");
  EXPECT_EQ(refused([](auto& o) { o.whiten_advantages = o.normalize_advantages = true; }),
            "whiten_advantages and normalize_advantages both standardise the advantages: choose "
            "one");
  EXPECT_EQ(refused([](auto& o) { o.gamma = 0.9; }),
            "gamma 0.9 discounts from token to token, and the action is the completion: set "
            "\"action\": \"token\", or gamma to 1");
  const auto summed_late = [&](auto change) {
    return refused([&](AdvantageOptions& o) {
      o.multi_objective_aggregation = "normalize_then_sum";
      change(o);
    });
  };
  const std::string begin = "multi_objective_aggregation \"normalize_then_sum\" ";
  EXPECT_EQ(summed_late([](auto& o) { o.estimator = "gae"; }),
            begin + "belongs to \"advantage\": \"group\", not to \"gae\"");
  EXPECT_EQ(summed_late([](auto& o) { o.scale_rewards = "none"; }),
            begin +
                "divides each reward function by its deviation in the group: scale_rewards "
                "must be \"group\", not \"none\"");
  EXPECT_EQ(summed_late([](auto& o) { o.action = "token"; }),
            begin + "gives one advantage a completion: set \"action\": \"completion\"");
  EXPECT_EQ(summed_late([](auto& o) {
              o.reward_clip_range = Numbers{0, 1};
            }),
            begin + "never sees the weighted sum that reward_clip_range would bound");
  EXPECT_EQ(summed_late([](auto& o) { o.whiten_rewards = true; }),
            begin + "never sees the weighted sum that whiten_rewards would divide");
}

TEST(TokenWeights, AreThoseOfEachAggregation) {
  const Rollout x = rollout_of({2, 4, 1, 3}, {4}, {1, 1, NAN, 1});
  const Advantages a{Numbers(10, 1), {}, {true, true, false, true}, {true, false, false, true}};
  const auto weights = [&](Aggregation how, std::vector<int64_t> which = {0, 1, 2, 3}) {
    return token_weights(x, a, which, how, 8);
  };
  const auto of = [](double first, double last) {
    return Numbers{first, first, 0, 0, 0, 0, 0, last, last, last};
  };
  expect(weights(Aggregation::token_mean), of(1.0 / 5, 1.0 / 5));
  expect(weights(Aggregation::sequence_mean), of(1.0 / 6, 1.0 / 9));  // three are counted
  expect(weights(Aggregation::sequence_sum), of(1.0 / 3, 1.0 / 3));
  expect(weights(Aggregation::fixed_length), of(1.0 / 24, 1.0 / 24));
  expect(weights(Aggregation::sequence_mean, {0, 2}), of(1.0 / 2, 0));
  expect(weights(Aggregation::token_mean, {3}), of(0, 1.0 / 3));
  expect(weights(Aggregation::token_mean, {1, 2}), Numbers(10, 0));
  EXPECT_EQ(message_of<ArgumentError>([&] { weights(Aggregation::token_mean, {4}); }),
            "[token_weights] completion 4 of a rollout of 4");
  EXPECT_EQ(
      message_of<ArgumentError>([&] { token_weights(x, a, {0}, Aggregation::fixed_length, 0); }),
      "[token_weights] the largest length of a completion must be at least 1; got 0");
}

}  // namespace
}  // namespace luce
