// The built-in algorithms on small policies, where every expectation is a sum over all that can be
// drawn: what their updates are on average, exactly.
#include "luce/rl/policy_gradient.h"

#include <cmath>

#include "luce/base/error.h"
#include "luce/loss/kl.h"
#include "rl/rollouts.h"
#include "support/support.h"

namespace luce {
namespace {

using oracle::deviation;
using test::make_algorithm;
using test::Tree;

constexpr double kExact = 1e-10;

/// Three answers of one token: θ = (.2, −.4, .5), R = (1, 0, .3).
Tree bandit() {
  Tree t(oracle::all_sequences(3, 1, oracle::Ending::length));
  t.theta = oracle::numbers({0.2, -0.4, 0.5}).view({1, 3}).requires_grad_(true);
  t.old_theta = t.theta.detach();
  t.rewards = oracle::numbers({1, 0, 0.3});
  return t;
}

Tensor row(const std::vector<double>& values) { return oracle::numbers(values).view({1, 3}); }

TEST(PolicyGradientExpectation, OfRlooIsTheGradientOfTheMeanReward) {
  const Tree t = bandit();
  const Tensor update = t.expected_update(*make_algorithm("rloo", {{"kl", "off"}}), 3);
  EXPECT_LT(deviation(update, t.gradient(t.expectation(t.rewards))), kExact);
  EXPECT_LT(deviation(update, row({0.177774, -0.091767, -0.086007})), 6e-7);
}

TEST(PolicyGradientExpectation, OfGroupMeansIsTheGradientTimesKMinusOneOverK) {
  const Tree t = bandit();
  const Tensor exact = t.gradient(t.expectation(t.rewards));
  for (const int64_t k : {2, 3}) {
    const auto share = static_cast<double>(k - 1) / static_cast<double>(k);
    const auto dr_grpo = make_algorithm("dr_grpo", {{"aggregation", "sequence_sum"}});
    EXPECT_LT(deviation(t.expected_update(*dr_grpo, k), share * exact), kExact);
    const auto mean = make_algorithm("bnpo", {{"advantage", "group_mean"}});
    EXPECT_LT(deviation(t.expected_update(*mean, k), share * exact), kExact);
  }
}

TEST(PolicyGradientExpectation, OfGrpoIsAnotherDirection) {
  const Tree t = bandit();
  const Tensor update = t.expected_update(*make_algorithm("grpo"), 3),
               exact = t.gradient(t.expectation(t.rewards));
  EXPECT_LT(deviation(update, row({0.257803, -0.158300, -0.099503})), 6e-7);
  EXPECT_NEAR(at::cosine_similarity(update, exact).item<double>(), 0.99371, 6e-6);
}

/// Sums over the tokens of a completion, as the exact gradient is one.
Json summed(Json options) {
  options["aggregation"] = "sequence_sum";
  return options;
}

TEST(PolicyGradientExpectation, IsExactForEveryBaselineAndRewardsOfTokens) {
  Tree t;
  t.token_rewards = t.s.at_tokens(oracle::normal({3, 3}, 84)).values;
  t.greedy = 0.7;
  const Tensor exact = t.gradient(t.expectation(t.totals()));
  for (const char* estimator : {"none", "moving", "greedy", "leave_one_out"}) {
    const auto algorithm =
        make_algorithm("reinforce", summed({{"advantage", estimator}, {"baseline_decay", 0.5}}));
    if (std::string(estimator) == "moving") algorithm->load_state({{"baseline", -1.3}});
    const int64_t k = std::string(estimator) == "leave_one_out" ? 2 : 1;
    EXPECT_LT(deviation(t.expected_update(*algorithm, k), exact), kExact) << estimator;
  }
  EXPECT_LT(deviation(t.expected_update(*make_algorithm("remax"), 1), exact), kExact);
  // The ratio of a completion carries advantages of tokens as well as those of the whole.
  for (const char* action : {"token", "completion"})
    EXPECT_LT(deviation(t.expected_update(
                            *make_algorithm("rloo", {{"kl", "off"}, {"action", action}}), 2),
                        exact),
              kExact)
        << action;
}

TEST(PolicyGradientExpectation, IsNothingForABaselineAlone) {
  Tree t;
  t.rewards = at::zeros_like(t.rewards);
  const auto algorithm = make_algorithm("reinforce");
  algorithm->load_state({{"baseline", 3.7}});
  EXPECT_LT(oracle::largest(t.expected_update(*algorithm, 1)), kExact);
  const auto [rollout, index] = t.draw({1});
  Metrics metrics;
  EXPECT_EQ(algorithm->advantages(rollout, metrics).advantages, (test::Numbers{-3.7, -3.7}));
}

/// V of each prefix under the policy, at every token.
Tensor true_values(const Tree& t, double gamma) {
  Tensor r = t.token_rewards.clone();
  for (size_t a = 0; a < t.s.answers.size(); ++a)
    r[t.s.offset[a + 1] - 1] += t.rewards[static_cast<int64_t>(a)];
  const Tensor to_go = oracle::discounted_sums({r, t.s.offset}, gamma).values;
  Tensor p = t.log_p().exp().detach();
  p = p.repeat_interleave(TokenValues{r, t.s.offset}.length().to(at::kLong));
  const Tensor none = at::zeros({static_cast<int64_t>(t.s.prefixes.size())}, at::kDouble);
  const Tensor v = none.index_add(0, t.s.prefix, p * to_go) / none.index_add(0, t.s.prefix, p);
  return t.s.at_prefixes(v).values;
}

TEST(PolicyGradientExpectation, OfPpoIsExactForAnyValuesAtLambdaOneAndForTrueValuesAtAnyLambda) {
  Tree t;
  t.token_rewards = t.s.at_tokens(oracle::normal({3, 3}, 85)).values;
  const Tensor exact = t.gradient(t.expectation(t.totals()));
  const auto update = [&](const Json& options) {
    Json all = {{"kl", "off"}, {"whiten_advantages", false}};
    all.update(options);
    return t.expected_update(*make_algorithm("ppo", summed(all)), 1);
  };
  t.values = t.s.at_prefixes(oracle::normal({3}, 86)).values;
  EXPECT_LT(deviation(update({{"lam", 1}}), exact), kExact);
  EXPECT_LT(deviation(update({{"advantage", "value"}}), exact), kExact);
  EXPECT_GT(deviation(update({{"lam", 0}}), exact), 1e-2);
  t.values = true_values(t, 1);
  for (const double lambda : {0.0, 0.5, 1.0})
    EXPECT_LT(deviation(update({{"lam", lambda}}), exact), kExact) << lambda;
}

TEST(PolicyGradientExpectation, OfDiscountedRewardsLeavesOutTheFirstTokensDiscount) {
  Tree t;
  t.token_rewards = t.s.at_tokens(oracle::normal({3, 3}, 87)).values;
  const double gamma = 0.9;
  Tensor r = t.token_rewards.clone();
  for (size_t a = 0; a < t.s.answers.size(); ++a)
    r[t.s.offset[a + 1] - 1] += t.rewards[static_cast<int64_t>(a)];
  const Tensor to_go = oracle::discounted_sums({r, t.s.offset}, gamma).values;
  const Tensor surrogate =
      (t.log_p().exp().detach() * TokenValues{t.logps() * to_go, t.s.offset}.sum()).sum();
  const auto algorithm =
      make_algorithm("reinforce", summed({{"advantage", "none"}, {"gamma", gamma}}));
  EXPECT_LT(deviation(t.expected_update(*algorithm, 1), t.gradient(surrogate)), kExact);
}

TEST(PolicyGradientExpectation, WithKlInTheRewardIsTheGradientOfThePenalisedObjective) {
  const Tree t;
  const double beta = 0.3;
  const Tensor exact = t.gradient(t.expectation(t.rewards) - beta * t.kl());
  const Json kl = {{"kl", "reward"}, {"beta", beta}};
  const auto with = [&](Json options) {
    options.update(kl);
    return options;
  };
  EXPECT_LT(deviation(t.expected_update(*make_algorithm("rloo", kl), 2), exact), kExact);
  EXPECT_LT(
      deviation(t.expected_update(*make_algorithm("rloo", with({{"action", "token"}})), 2), exact),
      kExact);
  EXPECT_LT(
      deviation(t.expected_update(*make_algorithm("reinforce", with({{"advantage", "none"}})), 1),
                exact),
      kExact);
}

TEST(PolicyGradientExpectation, WithCorrectedKlInTheLossOfCompletionsIsThatGradientToo) {
  const Tree t;
  const double beta = 0.3;
  const Tensor exact = t.gradient(t.expectation(t.rewards) - beta * t.kl());
  const auto update = [&](const char* estimator, const char* gradient) {
    return t.expected_update(*make_algorithm("rloo", {{"kl", "loss"},
                                                      {"beta", beta},
                                                      {"kl_estimator", estimator},
                                                      {"kl_gradient", gradient}}),
                             2);
  };
  EXPECT_LT(deviation(update("k1", "bias_corrected"), exact), kExact);
  EXPECT_LT(deviation(update("k3", "bias_corrected"), exact), kExact);
  // k1 has no gradient of its own on average, and that of k3 is another one.
  EXPECT_LT(deviation(update("k1", "own"), t.gradient(t.expectation(t.rewards))), kExact);
  EXPECT_GT(deviation(update("k3", "own"), exact), 1e-2);
}

TEST(PolicyGradientExpectation, WithKlInTheLossOfTokensHoldsThePrefixesFixed) {
  Tree t;
  t.rewards = at::zeros_like(t.rewards);
  const Tensor at_prefix = exact_kl(oracle::log_policy(t.theta), oracle::log_policy(t.ref_theta));
  const Tensor kl = TokenValues{t.s.at_prefixes(at_prefix).values, t.s.offset}.sum();
  const Tensor exact = -0.3 * t.gradient((t.log_p().exp().detach() * kl).sum());
  for (const auto& [estimator, gradient] :
       std::vector<std::pair<const char*, const char*>>{{"k1", "bias_corrected"},
                                                        {"k3", "bias_corrected"},
                                                        {"k2", "own"},
                                                        {"k3", "straight_through"}}) {
    const auto algorithm = make_algorithm(
        "reinforce",
        {{"kl", "loss"}, {"beta", 0.3}, {"kl_estimator", estimator}, {"kl_gradient", gradient}});
    EXPECT_LT(deviation(t.expected_update(*algorithm, 1), exact), kExact)
        << estimator << " " << gradient;
  }
}

TEST(PolicyGradientExpectation, OfTheEntropyBonusIsTheGradientOfTheEntropyAtThePrefixes) {
  Tree t;
  t.rewards = at::zeros_like(t.rewards);
  const Tensor h = TokenValues{t.s.at_prefixes(t.entropies()).values, t.s.offset}.sum();
  const Tensor exact = 0.2 * t.gradient((t.log_p().exp().detach() * h).sum());
  for (const char* name : {"reinforce", "rloo"})
    EXPECT_LT(deviation(t.expected_update(
                            *make_algorithm(name, {{"kl", "off"}, {"entropy_coef", 0.2}}), 2),
                        exact),
              kExact)
        << name;
}

TEST(PolicyGradientExpectation, OffPolicyIsExactForRatiosOfCompletionsAndOffByFirstOrderForTokens) {
  Tree t;
  const Tensor start = t.old_theta, direction = oracle::normal(start.sizes().vec(), 88);
  const auto error = [&](double step, const char* level) {
    t.theta = (start + step * direction).requires_grad_(true);
    const bool whole = std::string(level) == "completion";
    const auto algorithm =
        make_algorithm("rloo", {{"kl", "off"},
                                {"clip", "off"},
                                {"importance_sampling_level", level},
                                {"aggregation", whole ? "sequence_mean" : "sequence_sum"}});
    return deviation(t.expected_update(*algorithm, 2), t.gradient(t.expectation(t.rewards)));
  };
  for (const double step : {0.0, 0.02, 0.5}) EXPECT_LT(error(step, "completion"), kExact) << step;
  EXPECT_LT(error(0, "token"), kExact);
  const double one = error(0.01, "token"), two = error(0.02, "token"), four = error(0.04, "token");
  EXPECT_GT(one, 1e-4);
  EXPECT_NEAR(two / one, 2, 0.1);
  EXPECT_NEAR(four / two, 2, 0.1);
}

TEST(PolicyGradientExpectation, OfGspoIsOfTheGeometricMean) {
  // On policy: 1/|y| of each completion's score, by its own length.
  const Tree t;
  const Tensor length = TokenValues{t.logps(), t.s.offset}.length();
  const Tensor exact =
      t.gradient((t.log_p().exp().detach() * t.rewards * t.log_p() / length).sum());
  for (const char* level : {"sequence", "sequence_token"}) {
    const auto algorithm =
        make_algorithm("gspo", {{"advantage", "none"}, {"importance_sampling_level", level}});
    EXPECT_LT(deviation(t.expected_update(*algorithm, 1), exact), kExact) << level;
  }
}

/// Samples of a step's update, one a group, by the actual loss.
TEST(PolicyGradientExpectation, IsWhatSamplesAverageTo) {
  const Tree t;
  const int64_t groups = 30000, k = 4;
  at::manual_seed(9);
  const Tensor drawn = at::multinomial(t.old_p(), groups * k, /*replacement=*/true);
  const std::vector<int64_t> answers(drawn.data_ptr<int64_t>(),
                                     drawn.data_ptr<int64_t>() + groups * k);
  auto [rollout, index] = t.draw(answers);
  rollout.greedy_rewards.clear();
  rollout.group = {0};
  for (int64_t q = 1; q <= groups; ++q) rollout.group.push_back(q * k);
  const Tensor logps = t.logps().detach().index_select(0, index).requires_grad_(true);
  const auto step =
      test::step_of(*make_algorithm("rloo", {{"kl", "reward"}, {"beta", 0.3}}), rollout, logps);
  const Tensor slope = -oracle::gradient(step.loss, logps);  // [M], of a mean over completions
  const Tensor score = oracle::jacobian(t.logps(), t.theta).detach().index_select(0, index);
  const Tensor owner =
      at::arange(groups * k)
          .repeat_interleave(TokenValues{logps, rollout.offset}.length().to(at::kLong));
  const Tensor group = owner.div(k, "floor");
  const Tensor of_group = at::zeros({groups, score.size(1)}, at::kDouble)
                              .index_add(0, group, score * slope.unsqueeze(1)) *
                          static_cast<double>(groups);
  const Tensor exact = t.gradient(t.expectation(t.rewards) - 0.3 * t.kl()).reshape({-1});
  const Tensor error = (of_group.mean(0) - exact).abs(),
               standard = of_group.std(0) / std::sqrt(static_cast<double>(groups));
  EXPECT_GE(answers.size(), 100000u);
  EXPECT_LT((error / standard).max().item<double>(), 4);
  EXPECT_LT(standard.max().item<double>(), 0.01);
}

TEST(PolicyGradient, IsBlindToAConstantAddedToRewardsAndToTheirScale) {
  const Tree t;
  const auto [rollout, index] = t.draw({0, 3, 5, 3});
  const auto advantages = [&, &drawn = rollout](const Algorithm& a, double factor, double shift) {
    Rollout moved = drawn;
    for (double& r : moved.rewards) r = factor * r + shift;
    Metrics metrics;
    return test::f64(a.advantages(moved, metrics).advantages);
  };
  for (const char* name : {"rloo", "grpo", "dr_grpo", "reinforce_pp_baseline", "reinforce_pp"}) {
    const auto a = make_algorithm(name, {{"kl", "off"}});
    EXPECT_LT(deviation(advantages(*a, 1, 5), advantages(*a, 1, 0)), 1e-12) << name;
  }
  const auto grpo = make_algorithm("grpo"), rloo = make_algorithm("rloo", {{"kl", "off"}});
  EXPECT_LT(deviation(advantages(*grpo, 7.3, 0), advantages(*grpo, 1, 0)), 3e-4);
  EXPECT_GT(deviation(advantages(*grpo, 7.3, 0), advantages(*grpo, 1, 0)), 1e-6);
  EXPECT_LT(deviation(advantages(*rloo, 7.3, 0), 7.3 * advantages(*rloo, 1, 0)), 1e-12);
}

TEST(PolicyGradient, LearnsExactlyNothingFromEqualRewards) {
  Tree t;
  t.rewards = at::full_like(t.rewards, 0.1);
  const auto [rollout, index] = t.draw({0, 3, 5, 6, 2});
  for (const auto& info : Algorithms().list()) {
    const auto a = make_algorithm(info.name, {{"kl", "off"}});
    if (a->needs().least_group < 2 && info.name != "reinforce_pp") continue;
    const auto step = test::step_of(*a, rollout, t.logps().index_select(0, index));
    for (const double x : step.advantages.advantages) EXPECT_EQ(x, 0) << info.name;
    EXPECT_EQ(oracle::largest(t.gradient(step.loss)), 0) << info.name;
  }
}

}  // namespace
}  // namespace luce
