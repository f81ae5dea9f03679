// Every case of tests/golden/rl.json and ppo.json: advantages, losses, gradients and metrics of
// TRL's own trainers.
#include <cmath>

#include "rl/rollouts.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;
using test::f64;
using test::Numbers;

void append(Numbers& all, const Json& some) {
  for (const Json& x : some) all.push_back(x.is_null() ? NAN : x.get<double>());
}

/// The completions of rl.json as a rollout, with one of its two sets of rewards.
Rollout rollout_of(const Json& golden, const char* rewards) {
  Rollout x;
  for (const Json& c : golden["completions"]) {
    append(x.old_logps, c["old"]);
    append(x.ref_logps, c["ref"]);
    x.truncated.push_back(c["truncated"].get<bool>());
    x.offset.push_back(static_cast<int64_t>(x.old_logps.size()));
  }
  const auto size = golden["group_size"].get<int64_t>();
  while (x.group.back() < x.num_completions()) x.group.push_back(x.group.back() + size);
  x.reward_weights = golden["weights"].get<Numbers>();
  for (const Json& part : golden["rewards"][rewards]) append(x.reward_parts.emplace_back(), part);
  for (size_t c = 0; c < golden["completions"].size(); ++c) {
    double sum = 0, given = 0;
    for (size_t k = 0; k < x.reward_parts.size(); ++k)
      if (!std::isnan(x.reward_parts[k][c])) {
        sum += x.reward_weights[k] * x.reward_parts[k][c];
        given += 1;
      }
    x.rewards.push_back(given > 0 ? sum : NAN);
  }
  return x;
}

Tensor leaf_of(const Json& golden, const char* key) {
  Numbers all;
  for (const Json& c : golden["completions"]) append(all, c[key]);
  return f64(all).requires_grad_(true);
}

TEST(RlGolden, AdvantagesAreThoseOfTrl) {
  const Json golden = test::golden_json("rl.json");
  int cases = 0;
  for (const Json& c : golden["advantages"])
    for (const char* rewards : {"full", "holes"}) {
      SCOPED_TRACE(c["algorithm"].dump() + c["luce"].dump() + rewards);
      const auto algorithm = test::make_algorithm(c["algorithm"], c["luce"]);
      const Rollout rollout = rollout_of(golden, rewards);
      Metrics metrics;
      const Advantages got = algorithm->advantages(rollout, metrics);
      Numbers first;  // all tokens of a completion have the same
      for (int64_t i = 0; i < rollout.num_completions(); ++i)
        first.push_back(
            got.advantages[static_cast<size_t>(rollout.offset[static_cast<size_t>(i)])]);
      EXPECT_TRUE(close(f64(first), f64(c[rewards].get<Numbers>()), 1e-8, 1e-6));
      ++cases;
    }
  EXPECT_EQ(cases, 16);
}

void compare_metrics(const Metrics& got, const Json& want) {
  for (const auto& [name, value] : want.items())
    EXPECT_NEAR(got.mean(name), value.get<double>(), 1e-6 * (1 + std::abs(value.get<double>())))
        << name;
}

TEST(RlGolden, LossesAndGradientsAreThoseOfTrl) {
  const Json golden = test::golden_json("rl.json");
  const Rollout rollout = rollout_of(golden, "full");
  int cases = 0;
  for (const Json& c : golden["cases"]) {
    SCOPED_TRACE(c["algorithm"].dump() + c["luce"].dump());
    const auto algorithm = test::make_algorithm(c["algorithm"], c["luce"]);
    const Tensor logps = leaf_of(golden, "logps"), entropy = leaf_of(golden, "entropy");
    const auto step = test::step_of(*algorithm, rollout, logps, entropy,
                                    golden["max_completion_length"].get<int64_t>());
    // With ratios of completions TRL counts those that are masked, with a ratio of 1: a constant of
    // RLOO's loss, and some of all shares.
    const bool masked = c["luce"].contains("mask_truncated_completions");
    const bool whole = masked && algorithm->needs().couples != Coupling::token;
    double constant = 0;
    if (masked && c["algorithm"] == "rloo")
      for (size_t i = 0; i < rollout.truncated.size(); ++i)
        if (rollout.truncated[i])
          constant -= step.advantages.advantages[static_cast<size_t>(rollout.offset[i])] / 12;
    EXPECT_NEAR(step.loss.item<double>() + constant, c["loss"].get<double>(), 1e-8);
    EXPECT_TRUE(
        close(oracle::gradient(step.loss, logps), f64(c["grad_logps"].get<Numbers>()), 1e-9, 1e-6));
    if (c.contains("grad_entropy")) {
      EXPECT_TRUE(close(oracle::gradient(step.loss, entropy), f64(c["grad_entropy"].get<Numbers>()),
                        1e-9, 1e-6));
    }
    EXPECT_EQ(algorithm->needs().entropy, c.contains("grad_entropy"));
    if (!whole) compare_metrics(step.metrics, c["metrics"]);
    ++cases;
  }
  EXPECT_EQ(cases, 50);
}

TEST(RlGolden, PpoIsThatOfTrl) {
  const Json golden = test::golden_json("ppo.json");
  Rollout rollout;
  for (const Json& c : golden["completions"]) {
    append(rollout.old_logps, c["old"]);
    append(rollout.ref_logps, c["ref"]);
    append(rollout.values, c["old_values"]);
    rollout.rewards.push_back(c["reward"].get<double>());
    rollout.offset.push_back(static_cast<int64_t>(rollout.old_logps.size()));
    rollout.group.push_back(rollout.group.back() + 1);
  }
  int cases = 0;
  for (const Json& c : golden["cases"]) {
    SCOPED_TRACE(c["luce"].dump());
    Json plain = c["luce"];
    plain["whiten_advantages"] = false;
    Metrics unused, metrics;
    EXPECT_TRUE(
        close(f64(test::make_algorithm("ppo", plain)->advantages(rollout, unused).advantages),
              f64(c["advantages"].get<Numbers>()), 1e-8, 1e-6));
    const auto ppo = test::make_algorithm("ppo", c["luce"]);
    const Tensor logps = leaf_of(golden, "logps"), values = leaf_of(golden, "values");
    auto step = test::step_of(*ppo, rollout, logps);
    const ValueInputs of_values{values, f64(rollout.values), f64(step.advantages.returns),
                                step.inputs.weights};
    const Tensor loss =
        step.loss + (ppo->value_loss(of_values, step.metrics) * step.inputs.weights).sum();
    EXPECT_NEAR(loss.item<double>(), c["loss"].get<double>(), 1e-8);
    EXPECT_TRUE(
        close(oracle::gradient(loss, logps), f64(c["grad_logps"].get<Numbers>()), 1e-9, 1e-6));
    EXPECT_TRUE(
        close(oracle::gradient(loss, values), f64(c["grad_values"].get<Numbers>()), 1e-9, 1e-6));
    Json measured = c["metrics"];
    if (c["luce"].contains("beta") && c["luce"]["beta"] == 0)  // no reference: nothing is logged
      for (const char* name :
           {"objective/kl", "objective/non_score_reward", "objective/rlhf_reward"})
        measured.erase(name);
    if (c["luce"].contains("kl_estimator")) measured.erase("objective/kl");  // always k1 here
    compare_metrics(step.metrics, measured);
    ++cases;
  }
  EXPECT_EQ(cases, 6);
}

}  // namespace
}  // namespace luce
