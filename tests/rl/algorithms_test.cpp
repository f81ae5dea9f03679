#include "luce/rl/algorithms.h"

#include <cmath>

#include "luce/base/error.h"
#include "luce/loss/registry.h"
#include "luce/rl/policy_gradient.h"
#include "rl/rollouts.h"
#include "support/support.h"

namespace luce {
namespace {

using test::f64;
using test::make_algorithm;
using test::message_of;
using test::Numbers;

const char* const kNames =
    "ppo, rloo, reinforce, reinforce_pp, reinforce_pp_baseline, remax, grpo, dr_grpo, bnpo, dapo, "
    "gspo, luspo, cispo, sapo, gmpo, vespo";

TEST(Algorithms, AreFoundByNameAndAlias) {
  const Algorithms all;
  std::string names;
  for (const auto& info : all.list()) {
    names += (names.empty() ? "" : ", ") + info.name;
    EXPECT_FALSE(info.title.empty() || info.paper.empty() || info.formula.empty() ||
                 info.notes.empty())
        << info.name;
  }
  EXPECT_EQ(names, kNames);
  EXPECT_EQ(all.find("reinforce++", "c").name, "reinforce_pp");
  EXPECT_EQ(message_of<UsageError>([&] { all.find("grpoo", "c.json:3"); }),
            "c.json:3: unknown algorithm \"grpoo\"; did you mean \"grpo\"?");
  EXPECT_EQ(message_of<UsageError>([&] { all.find("sigmoid_loss", "c.json:3"); }),
            cat("c.json:3: unknown algorithm \"sigmoid_loss\"; known algorithms: ", kNames));
}

TEST(Algorithms, NeedWhatTheirPartsNeed) {
  const auto needs = [](const char* name, const Json& options = {}) {
    return make_algorithm(name, options)->needs();
  };
  EXPECT_TRUE(needs("ppo").values && needs("ppo").reference);
  EXPECT_FALSE(needs("ppo", {{"kl", "off"}}).reference);
  EXPECT_FALSE(needs("grpo").reference || needs("grpo").values || needs("grpo").entropy);
  EXPECT_TRUE(needs("grpo", {{"beta", 0.04}}).reference);
  EXPECT_TRUE(needs("grpo", {{"entropy_coef", 0.1}}).entropy);
  EXPECT_TRUE(needs("grpo", {{"use_adaptive_entropy", true}}).entropy);
  EXPECT_TRUE(needs("remax").greedy);
  EXPECT_EQ(needs("grpo").least_group, 2);
  EXPECT_EQ(needs("rloo").least_group, 2);
  EXPECT_EQ(needs("reinforce_pp").least_group, 1);
  EXPECT_EQ(needs("grpo").couples, Coupling::token);
  for (const char* name : {"rloo", "gspo", "luspo", "gmpo", "vespo"})
    EXPECT_EQ(needs(name).couples, Coupling::sequence) << name;
  EXPECT_EQ(make_algorithm("ppo")->epochs(), 4);
  EXPECT_EQ(make_algorithm("ppo", {{"num_mini_batches", 3}})->minibatches(), 3);
  EXPECT_EQ(make_algorithm("dr_grpo")->aggregation(), Aggregation::fixed_length);
}

TEST(Algorithms, WriteOutTheirOptionsUnderTheirOwnNames) {
  const auto document = Document::of(
      Json::parse(R"({"algorithm": {"type": "reinforce++", "kl_coef": 0.2, "epsilon_high": 0.3}})"),
      "test");
  const Json out = Algorithms().resolve(document);
  EXPECT_EQ(out["type"], "reinforce_pp");
  EXPECT_EQ(out["beta"], 0.2);
  EXPECT_FALSE(out.contains("kl_coef"));
  EXPECT_EQ(out["epsilon_high"], 0.3);
  EXPECT_EQ(out["advantage"], "none");
  // What was written out means the same.
  const Json again = Algorithms().resolve(Document::of(Json{{"algorithm", out}}, "test"));
  EXPECT_EQ(again, out);
}

TEST(Algorithms, RefuseSectionsThatAreNone) {
  const auto refused = [](const Json& config) {
    return message_of<UsageError>([&] { Algorithms().make(Document::of(config, "c.json")); });
  };
  EXPECT_EQ(refused(Json::object()),
            "c.json: \"algorithm\" is missing, for example {\"type\": \"grpo\"}");
  EXPECT_EQ(refused({{"algorithm", "grpo"}}),
            "c.json: an algorithm is an object with a \"type\", for example {\"type\": \"grpo\"}");
  const Json section = {{"type", "grpo"}, {"delta", 1.1}};
  EXPECT_EQ(refused(Json{{"algorithm", section}}),
            "c.json: algorithm: delta (1.1) must be above 1 + epsilon_high (1.2), or no ratio ever "
            "reaches the clip");
}

TEST(Algorithms, RefuseKlAndEntropyThatContradictThemselves) {
  const auto refused = [](const char* name, const Json& options) {
    return message_of<UsageError>([&] { make_algorithm(name, options); });
  };
  EXPECT_EQ(refused("ppo", {{"kl", "off"}, {"kl_target", 6}}),
            "test: algorithm: kl_target adapts beta, and \"kl\" is \"off\": set it to \"reward\" "
            "or \"loss\"");
  EXPECT_EQ(refused("grpo", {{"kl_target", 6}}),
            "test: algorithm: kl_target multiplies beta, and beta is 0: give it a value above 0");
  EXPECT_EQ(refused("grpo", {{"kl", "reward"},
                             {"beta", 0.1},
                             {"multi_objective_aggregation", "normalize_then_sum"}}),
            "test: algorithm: multi_objective_aggregation \"normalize_then_sum\" never sees the "
            "weighted sum that KL is subtracted from: set \"kl\" to \"loss\" or \"off\"");
  EXPECT_EQ(refused("grpo", {{"use_adaptive_entropy", true},
                             {"entropy_coef_min", 0.5},
                             {"entropy_coef_max", 0.25}}),
            "test: algorithm: entropy_coef_min (0.5) is above entropy_coef_max (0.25)");
}

/// An algorithm of a program's own.
class Constant : public Algorithm {
 public:
  struct Options {
    double value = 3;
  };
  explicit Constant(const Options& options) : options_(options) {}
  static AlgorithmInfo info() { return {.name = "constant", .aliases = {"flat"}}; }
  Advantages advantages(const Rollout& x, Metrics&) const override {
    return {Numbers(static_cast<size_t>(x.num_tokens()), options_.value), {}, {}, {}};
  }
  Tensor operator()(const PolicyInputs& x, Metrics&) const override { return -x.logps.values; }

 private:
  Options options_;
};
void describe(Schema& s, Constant::Options& o) { s.field("value", o.value, "of all tokens"); }

TEST(Algorithms, AreKeptInTheRegistryBesideWhatAProgramAdds) {
  Registry registry;
  registry.part<Algorithms>().add<Constant>();
  const Registry& shared = registry;
  const Json section = {{"type", "flat"}, {"value", 2}};
  const auto made =
      shared.part<Algorithms>().make(Document::of(Json{{"algorithm", section}}, "test"));
  Metrics metrics;
  EXPECT_EQ(made->advantages(test::rollout_of({2}, {1}, {1}), metrics).advantages, (Numbers{2, 2}));
  EXPECT_EQ(shared.part<Algorithms>().list().size(), Algorithms().list().size() + 1);
  // What an algorithm of few words does.
  EXPECT_TRUE(made->state().is_null());
  made->load_state(nullptr);
  EXPECT_EQ(message_of<DataError>([&] {
              made->load_state({{"kl_coef", 1}});
            }),
            "the checkpoint holds the state of another algorithm: {\"kl_coef\":1}");
  const ValueInputs values{f64({1, 3}), f64({0, 0}), f64({2, 3}), f64({1, 1})};
  EXPECT_EQ(test::numbers_of(made->value_loss(values, metrics)), (Numbers{0.5, 0}));
  EXPECT_EQ(message_of<ArgumentError>([&] { registry.part<Algorithms>().add<Constant>(); }),
            "[Algorithms] the name of the algorithm \"constant\" is taken by \"constant\"");
}

/// Two groups of two completions with everything that an algorithm may ask for.
Rollout full_rollout() {
  Rollout x = test::rollout_of({2, 3, 1, 2}, {2, 2}, {1, -0.5, 0.25, 2});
  x.old_logps = {-1, -2, -0.5, -1.5, -0.7, -2.2, -0.3, -1.1};
  x.ref_logps = {-1.2, -1.7, -0.6, -1.1, -0.9, -2, -0.4, -1.3};
  x.values = {0.3, 0.1, -0.2, 0.4, 0.6, -0.1, 0.2, 0.5};
  x.truncated = {false, true, false, false};
  x.greedy_rewards = {0.5, 0.1};
  return x;
}

TEST(PolicyGradient, TakesEveryOptionInEveryAlgorithm) {
  const std::vector<Json> options = {
      {{"action", "token"}},
      {{"action", "completion"}},
      {{"kl", "off"}},
      {{"kl", "reward"}, {"beta", 0.1}, {"kl_estimator", "k3"}, {"kl_max_log_ratio", 0.1}},
      {{"kl", "loss"}, {"beta", 0.1}, {"kl_estimator", "k1"}, {"kl_gradient", "bias_corrected"}},
      {{"kl", "loss"}, {"beta", 0.1}, {"kl_estimator", "k2"}, {"kl_gradient", "own"}},
      {{"kl", "loss"}, {"beta", 0.1}, {"kl_estimator", "abs"}, {"kl_gradient", "straight_through"}},
      {{"clip", "off"}},
      {{"epsilon", 0.1}, {"epsilon_high", 0.5}},
      {{"action", "token"}, {"gamma", 0.9}},
      {{"entropy_coef", 0.1}},
      {{"use_adaptive_entropy", true}},
      {{"aggregation", "token_mean"}},
      {{"aggregation", "sequence_mean"}},
      {{"aggregation", "sequence_sum"}},
      {{"aggregation", "fixed_length"}},
      {{"num_iterations", 3}, {"minibatches", 2}},
      {{"mask_truncated_completions", true}},
      {{"advantage", "gae"}, {"action", "token"}, {"lam", 0.5}},
      {{"advantage", "leave_one_out"}},
      {{"whiten_advantages", true}, {"normalize_advantages", false}},
      {{"kl", "reward"}, {"beta", 0.1}, {"kl_target", 3}}};
  const Rollout rollout = full_rollout();
  const Algorithms all;
  for (const auto& info : all.list())
    for (const Json& chosen : options) {
      SCOPED_TRACE(info.name + chosen.dump());
      const auto algorithm = make_algorithm(info.name, chosen);
      const Tensor logps = (f64(rollout.old_logps) + 0.01).detach().requires_grad_(true),
                   entropy = at::full_like(logps, 0.7).detach().requires_grad_(true);
      const auto step = test::step_of(*algorithm, rollout, logps, entropy);
      algorithm->observe(rollout);
      algorithm->after_step(step.metrics);
      const Tensor gradient = oracle::gradient(step.loss, logps);
      EXPECT_TRUE(step.loss.isfinite().item<bool>());
      EXPECT_TRUE(gradient.isfinite().all().item<bool>());
      EXPECT_GT(oracle::largest(gradient), 0);
    }
}

TEST(PolicyGradient, AdaptsBetaToTheTarget) {
  // Σ (old − ref) of the completions: −.1, −.1, −.2, .3; their mean −.025 is far below the target.
  Rollout x = full_rollout();
  const auto coefficient = [](const Algorithm& a) { return a.state()["kl_coef"].get<double>(); };
  const Json options = {{"beta", 0.1}, {"kl_target", 2}, {"kl_horizon", 100}};
  for (const char* place : {"reward", "loss"}) {
    Json all = options;
    all["kl"] = place;
    const auto rloo = make_algorithm("rloo", all);
    EXPECT_EQ(coefficient(*rloo), 0.1);
    rloo->observe(x);  // clipped to −.2: × 1 − .2 · 4/100
    EXPECT_NEAR(coefficient(*rloo), 0.1 * 0.992, 1e-15);
    x.rewards[0] = NAN;                    // takes no part: means of three
    for (double& l : x.ref_logps) l -= 1;  // 6 tokens' nats more
    rloo->observe(x);                      // mean (−.1 − .2 + .3 + 6)/3 = 2: as it should be
    EXPECT_NEAR(coefficient(*rloo), 0.1 * 0.992, 1e-15);
    for (double& l : x.ref_logps) l -= 0.1;  // 2.2
    rloo->observe(x);
    EXPECT_NEAR(coefficient(*rloo), 0.1 * 0.992 * (1 + 0.1 * 3 / 100), 1e-15);
    const auto resumed = make_algorithm("rloo", all);
    resumed->load_state(rloo->state());
    EXPECT_EQ(resumed->state(), rloo->state());
    Metrics metrics;
    resumed->advantages(x, metrics);
    EXPECT_EQ(metrics.mean("kl_coef"), coefficient(*rloo));
    EXPECT_NEAR(metrics.mean("objective/kl"), 2.2, 1e-12);
    x = full_rollout();
  }
}

TEST(PolicyGradient, KeepsARunningMeanOfRewards) {
  const auto reinforce = make_algorithm("reinforce", {{"baseline_decay", 0.75}});
  EXPECT_EQ(reinforce->state(), (Json{{"baseline", nullptr}}));
  Rollout x = test::rollout_of({1, 1}, {1, 1}, {1, 2});
  const auto advantages = [&] {
    Metrics metrics;
    return reinforce->advantages(x, metrics).advantages;
  };
  EXPECT_EQ(advantages(), (Numbers{1, 2}));
  reinforce->observe(x);
  EXPECT_EQ(advantages(), (Numbers{-0.5, 0.5}));
  x.rewards = {NAN, 5.5};
  reinforce->observe(x);
  EXPECT_EQ(reinforce->state(), (Json{{"baseline", 2.5}}));
  EXPECT_EQ(advantages(), (Numbers{0, 3}));
  const auto resumed = make_algorithm("reinforce");
  resumed->load_state(reinforce->state());
  EXPECT_EQ(resumed->state(), reinforce->state());
}

TEST(PolicyGradient, MovesTheEntropyCoefficientTowardsItsTarget) {
  const auto grpo = make_algorithm(
      "bnpo", {{"use_adaptive_entropy", true}, {"entropy_coef", 0.993}, {"entropy_target", 0.5}});
  const auto after = [&](double entropy) {
    Metrics step;
    step.add("entropy", entropy * 4, 4);
    grpo->after_step(step);
    return grpo->state()["entropy_coef"].get<double>();
  };
  // The bonus of a step: −∂loss/∂H of one token among two.
  const auto bonus = [&] {
    Rollout x = test::rollout_of({1, 1}, {2}, {1, 2});
    x.old_logps = {-1, -1};
    const Tensor entropy = f64({0.3, 0.3}).requires_grad_(true);
    const Tensor logps = f64({-1, -1}).requires_grad_(true);
    return -2 * oracle::gradient(test::step_of(*grpo, x, logps, entropy).loss, entropy)[0]
                    .item<double>();
  };
  EXPECT_EQ(bonus(), 0);  // nothing is known of the entropy yet
  EXPECT_NEAR(after(0.5), 0.998, 1e-15);
  EXPECT_NEAR(bonus(), 0.998, 1e-15);
  EXPECT_EQ(after(0.1), 1);
  EXPECT_NEAR(after(0.6), 0.995, 1e-15);
  EXPECT_EQ(bonus(), 0);  // it rests above the target
  const Json state = grpo->state();
  EXPECT_EQ(state, (Json{{"entropy_coef", state["entropy_coef"]}, {"entropy", 0.6}}));
  const auto resumed = make_algorithm("bnpo", {{"use_adaptive_entropy", true}});
  resumed->load_state(state);
  EXPECT_EQ(resumed->state(), state);
  const auto falling = make_algorithm("bnpo", {{"use_adaptive_entropy", true}});
  Metrics high;
  high.add("entropy", 3, 1);
  falling->after_step(high);
  EXPECT_EQ(falling->state()["entropy_coef"], 0);
}

TEST(PolicyGradient, RefusesTheStateOfAnother) {
  const auto rloo = make_algorithm("rloo", {{"kl_target", 6}});
  EXPECT_EQ(message_of<DataError>([&] {
              rloo->load_state({{"baseline", 2}});
            }),
            "the checkpoint holds the state of another algorithm: {\"baseline\":2} where "
            "{\"kl_coef\":0.05} was expected");
  EXPECT_EQ(message_of<DataError>([&] { rloo->load_state(nullptr); }),
            "the checkpoint holds the state of another algorithm: null where {\"kl_coef\":0.05} "
            "was expected");
  EXPECT_EQ(message_of<DataError>([&] {
              rloo->load_state({{"kl_coef", nullptr}});
            }),
            "the checkpoint holds the state of another algorithm: {\"kl_coef\":null} where "
            "{\"kl_coef\":0.05} was expected");
  EXPECT_EQ(message_of<DataError>([&] {
              make_algorithm("grpo")->load_state({{"kl_coef", 1}});
            }),
            "the checkpoint holds the state of another algorithm: {\"kl_coef\":1} where null was "
            "expected");
  make_algorithm("grpo")->load_state(nullptr);
}

TEST(PolicyGradient, SaysWhatItLacks) {
  Rollout x = full_rollout();
  x.ref_logps.clear();
  Metrics metrics;
  const auto in_loss = make_algorithm("grpo", {{"beta", 0.1}, {"entropy_coef", 0.1}});
  EXPECT_EQ(message_of<ArgumentError>([&] { in_loss->advantages(x, metrics); }),
            "[PolicyGradient] KL to the reference needs the log-probs of policy and reference");
  PolicyInputs inputs;
  inputs.logps = {f64(x.old_logps), x.offset};
  inputs.old_logps = inputs.advantages = inputs.weights = f64(x.old_logps);
  EXPECT_EQ(message_of<ArgumentError>([&] { (*in_loss)(inputs, metrics); }),
            "[PolicyGradient] KL in the loss needs the log-probs of the reference");
  inputs.ref_logps = inputs.old_logps;
  EXPECT_EQ(message_of<ArgumentError>([&] { (*in_loss)(inputs, metrics); }),
            "[PolicyGradient] the entropy bonus needs the entropy of every token");
}

TEST(PolicyGradient, WorksInSinglePrecision) {
  const Rollout x = full_rollout();
  const Algorithms all;
  for (const auto& info : all.list()) {
    const auto algorithm = make_algorithm(info.name, {{"kl", "loss"}, {"beta", 0.1}});
    const Tensor logps = f64(x.old_logps) + f64({0.1, -0.2, 0.05, 0.3, 0, -0.1, 0.2, -0.3});
    const auto step = test::step_of(*algorithm, x, logps);
    PolicyInputs single = step.inputs;
    single.logps.values = logps.to(at::kFloat);
    for (Tensor* t : {&single.old_logps, &single.ref_logps, &single.advantages, &single.weights})
      *t = t->to(at::kFloat);
    Metrics exact, rough;
    const Tensor want = (*algorithm)(step.inputs, exact), got = (*algorithm)(single, rough);
    EXPECT_EQ(got.scalar_type(), at::kFloat) << info.name;
    EXPECT_TRUE(test::close(got.to(at::kDouble), want, 1e-6, 1e-5)) << info.name;
  }
}

}  // namespace
}  // namespace luce
