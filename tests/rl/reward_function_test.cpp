// Sums of rewards, what failures cost, and rewards by name.
#include "luce/rl/reward_function.h"

#include <cmath>
#include <stdexcept>

#include "luce/base/error.h"
#include "luce/loss/registry.h"
#include "luce/rl/reward_registry.h"
#include "support/support.h"

namespace luce {
namespace {

using Values = std::vector<std::optional<double>>;

/// Gives these values in turn.
std::shared_ptr<RewardFunction> gives(Values values) {
  auto next = std::make_shared<size_t>(0);
  return std::make_shared<RewardLambda>(
      [=](const RewardInput&) { return values[(*next)++ % values.size()]; });
}

/// Gives what a function makes of all completions at once.
class Whole : public RewardFunction {
 public:
  using Make = std::function<std::vector<RewardValue>(size_t count)>;
  explicit Whole(Make make) : make_(std::move(make)) {}
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override {
    return make_(inputs.size());
  }

 private:
  Make make_;
};

std::vector<RewardInput> completions(size_t count) {
  return std::vector<RewardInput>(count,
                                  {.prompt = "p", .completion = "c", .completion_ids = {5, 6, 7}});
}

RewardLimits patient() { return {.max_failed = 1}; }

TEST(Rewards, AreTheWeightedSumOfThoseThatHaveAValue) {
  Rewards rewards({{"a", gives({1.0, std::nullopt, 3.0, std::nullopt}), 2},
                   {"b", gives({0.5, 0.25, std::nullopt, std::nullopt}), -1}});
  Metrics metrics;
  const auto out = rewards(completions(4), metrics);
  EXPECT_EQ(out.rewards[0], 2 * 1.0 - 0.5);
  EXPECT_EQ(out.rewards[1], -0.25);
  EXPECT_EQ(out.rewards[2], 6);
  EXPECT_TRUE(std::isnan(out.rewards[3]));  // none, which is not 0
  EXPECT_EQ(out.parts[0][2], 3);
  EXPECT_TRUE(std::isnan(out.parts[1][2]));
  EXPECT_EQ(out.problems, std::vector<std::string>(4, ""));
  EXPECT_EQ(metrics.mean("rewards/a/mean"), 2);
  EXPECT_NEAR(metrics.mean("rewards/a/std"), std::sqrt(2.0), 1e-15);  // unbiased, of 1 and 3
  EXPECT_EQ(metrics.mean("rewards/b/mean"), 0.375);
  EXPECT_NEAR(metrics.mean("rewards/b/std"), 0.125 * std::sqrt(2.0), 1e-15);
  EXPECT_EQ(metrics.mean("reward/failed"), 0);
  EXPECT_EQ(metrics.count("reward/failed"), 4);
}

TEST(Rewards, OneValueHasAMeanAndNoDeviation) {
  Rewards rewards({{"a", gives({1.0, std::nullopt}), 1}, {"b", gives({std::nullopt}), 1}});
  Metrics metrics;
  rewards(completions(2), metrics);
  EXPECT_EQ(metrics.mean("rewards/a/mean"), 1);
  EXPECT_FALSE(metrics.has("rewards/a/std"));
  EXPECT_FALSE(metrics.has("rewards/b/mean"));
  EXPECT_TRUE(rewards({}, metrics).rewards.empty());
}

TEST(Rewards, AFailureCostsItsCompletionAllOfItsReward) {
  const auto fails = [](const RewardInput&) -> std::optional<double> {
    static int call = 0;
    switch (call++) {
      case 0:
        throw std::runtime_error("no luck");
      case 1:
        return NAN;
      case 2:
        return -INFINITY;
      default:
        return 7;
    }
  };
  Rewards rewards({{"good", gives({1.0}), 1}, {"bad", std::make_shared<RewardLambda>(fails), 1}},
                  patient());
  Metrics metrics;
  const auto out = rewards(completions(4), metrics);
  EXPECT_EQ(out.problems, (std::vector<std::string>{"bad: no luck", "bad: it gave NaN",
                                                    "bad: it gave -inf, which is not finite", ""}));
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_TRUE(std::isnan(out.rewards[c]));
    EXPECT_EQ(out.parts[0][c], 1);
    EXPECT_TRUE(std::isnan(out.parts[1][c]));
  }
  EXPECT_EQ(out.rewards[3], 8);
  EXPECT_EQ(metrics.mean("reward/failed"), 0.75);
  EXPECT_EQ(metrics.mean("rewards/bad/mean"), 7);
}

TEST(Rewards, AFunctionThatFailsAsAWholeCostsAllThatItWasAsked) {
  const std::vector<std::pair<Whole::Make, std::string>> cases = {
      {[](size_t) -> std::vector<RewardValue> { throw DataError("broken"); }, "f: broken"},
      {[](size_t) -> std::vector<RewardValue> { throw 3; },
       "f: it threw something that is no std::exception"},
      {[](size_t n) { return std::vector<RewardValue>(n + 1, {.value = 1}); },
       "f: it gave 3 values for 2 completions"},
      {[](size_t n) { return std::vector<RewardValue>(n, {.value = 1, .problem = "ill"}); },
       "f: ill"},
      {[](size_t n) {
         return std::vector<RewardValue>(n, {.value = 1, .steps = {{4, 1}}});
       },
       "f: it gave a step that ends after 4 tokens of a completion of 3"},
      {[](size_t n) {
         return std::vector<RewardValue>(n, {.value = 1, .steps = {{0, 1}}});
       },
       "f: it gave a step that ends after 0 tokens of a completion of 3"},
      {[](size_t n) {
         return std::vector<RewardValue>(n, {.value = 1, .steps = {{3, NAN}}});
       },
       "f: it gave a step nan"}};
  for (const auto& [make, problem] : cases) {
    Rewards rewards({{"f", std::make_shared<Whole>(make), 1}}, patient());
    Metrics metrics;
    const auto out = rewards(completions(2), metrics);
    EXPECT_EQ(out.problems, std::vector<std::string>(2, problem));
    EXPECT_TRUE(std::isnan(out.rewards[0]) && std::isnan(out.rewards[1]));
    EXPECT_TRUE(out.steps[0].empty());
  }
}

TEST(Rewards, StepsOfAllFunctionsStandInOrderWithTheirWeights) {
  const auto steps = [](double value, std::vector<StepReward> list) {
    return std::make_shared<Whole>(
        [=](size_t n) { return std::vector<RewardValue>(n, {.value = value, .steps = list}); });
  };
  Rewards rewards({{"a", steps(1, {{1, 0.5}, {3, 1}}), 2}, {"b", steps(NAN, {{2, 4}}), -1}});
  Metrics metrics;
  const auto out = rewards(completions(1), metrics);
  EXPECT_EQ(out.rewards[0], 2);
  ASSERT_EQ(out.steps[0].size(), 3U);
  const std::vector<std::pair<int64_t, double>> want = {{1, 1}, {2, -4}, {3, 2}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(out.steps[0][i].end, want[i].first);
    EXPECT_EQ(out.steps[0][i].value, want[i].second);
  }
  Rewards only({{"b", steps(NAN, {{2, 4}}), 1}});
  EXPECT_EQ(only(completions(1), metrics).rewards[0], 0);  // steps are a value
}

TEST(Rewards, ARowMayNameItsOwn) {
  Rewards rewards({{"a", gives({1.0}), 1}, {"b", gives({10.0}), 1}});
  const std::vector<Json> rows = {Json{{"reward", "b"}}, Json{{"reward", {"a", "b"}}},
                                  Json{{"reward", nullptr}}, Json{{"reward", Json::array()}},
                                  Json{{"other", 1}}};
  auto inputs = completions(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) inputs[i].row = &rows[i];
  Metrics metrics;
  const auto out = rewards(inputs, metrics);
  EXPECT_EQ(out.rewards[0], 10);
  EXPECT_EQ(out.rewards[1], 11);
  EXPECT_EQ(out.rewards[2], 11);
  EXPECT_TRUE(std::isnan(out.rewards[3]));
  EXPECT_EQ(out.rewards[4], 11);
  EXPECT_EQ(metrics.count("rewards/a/mean"), 3);
  for (const Json& name : {Json("c"), Json(3)}) {
    const Json row = {{"reward", Json::array({"a", name})}};
    inputs[1].row = &row;
    EXPECT_EQ(test::message_of<DataError>([&] { rewards(inputs, metrics); }),
              "a row's column \"reward\" holds " + name.dump() +
                  ", which is no reward of this run; they are: a, b");
  }
}

TEST(Rewards, TooManyFailuresAmongTheLastStopTheRun) {
  int calls = 0;
  const auto fails = [&](const RewardInput&) -> std::optional<double> {
    if (++calls % 2 == 0) throw std::runtime_error(cat("reason ", calls % 8));
    return 1;
  };
  Rewards rewards({{"f", std::make_shared<RewardLambda>(fails), 1}},
                  {.max_failed = 0.25, .window = 16});
  Metrics metrics;
  rewards(completions(8), metrics);  // 4 of 16 are allowed
  EXPECT_EQ(test::message_of<Error>([&] { rewards(completions(8), metrics); }),
            "rewards failed for 8 of the last 16 completions, and 4 of 16 are allowed; the newest "
            "reasons: f: reason 0; f: reason 6; f: reason 4");
  try {
    rewards(completions(8), metrics);
  } catch (const Error& failure) {
    EXPECT_EQ(failure.code(), Exit::service);
  }
  // What is older than the window is forgotten.
  Rewards once({{"f", gives({NAN, 1.0, 1.0, 1.0}), 1}}, {.max_failed = 0.25, .window = 4});
  for (int i = 0; i < 20; ++i) once(completions(4), metrics);
}

TEST(Rewards, RefuseWhatMakesNoSense) {
  EXPECT_EQ(test::message_of<ArgumentError>([] {
              Rewards({{"a", gives({1.0}), 1}, {"a", gives({1.0}), 1}});
            }),
            "[Rewards] two reward functions have the name \"a\"");
  EXPECT_EQ(test::message_of<ArgumentError>([] { Rewards({}, {.max_failed = 1.5}); }),
            "[Rewards] max_failed is 1.5 of 200; expected 0 to 1 of at least 1 completion");
  EXPECT_EQ(test::message_of<ArgumentError>([] { Rewards({}, {.window = 0}); }),
            "[Rewards] max_failed is 0.05 of 0; expected 0 to 1 of at least 1 completion");
}

Document config(const std::string& reward) { return {"{\"reward\": " + reward + "}", "c.json"}; }

Rewards made(const std::string& reward, const RewardFunctions& functions = {}) {
  return functions.make_rewards(config(reward), "/reward", {});
}

std::string refusal(const std::string& reward) {
  return test::message_of<UsageError>([&] { made(reward); });
}

TEST(RewardFunctions, ReadAListOrOneObject) {
  const Rewards one = made(R"({"type": "json", "weight": 0.5})");
  ASSERT_EQ(one.functions().size(), 1U);
  EXPECT_EQ(one.functions()[0].name, "json");
  EXPECT_EQ(one.functions()[0].weight, 0.5);
  const Rewards list = made(R"([{"type": "json"}, {"type": "json"}, {"type": "exact", "name": "e"},
    {"type": "json"}, {"type": "answer", "name": "json_2"}])");
  std::vector<std::string> names;
  for (const auto& function : list.functions()) names.push_back(function.name);
  EXPECT_EQ(names, (std::vector<std::string>{"json", "json_3", "e", "json_4", "json_2"}));
}

TEST(RewardFunctions, WriteEveryOptionOut) {
  EXPECT_EQ(RewardFunctions().resolve(config(R"({"type": "length", "target": 5})")),
            Json::parse(R"([{"type": "length", "weight": 1.0, "name": "length", "target": 5,
                             "slope": 0.0003}])"));
  EXPECT_EQ(RewardFunctions().resolve(config(R"([{"type": "exact", "column": "gold"},
                                                 {"type": "exact", "weight": 2}])")),
            Json::parse(R"([{"type": "exact", "weight": 1.0, "name": "exact", "column": "gold",
                             "fold_case": false},
                            {"type": "exact", "weight": 2.0, "name": "exact_2", "column": "answer",
                             "fold_case": false}])"));
}

TEST(RewardFunctions, TakeAProgramsOwn) {
  auto registry = Registry::with_builtins();
  registry.part<RewardFunctions>().add(
      "shorter", [](const RewardInput& r) { return -static_cast<double>(r.completion.size()); });
  const Registry& copy = registry;
  Rewards rewards = made(R"({"type": "shorter"})", copy.part<RewardFunctions>());
  Metrics metrics;
  EXPECT_EQ(rewards(completions(1), metrics).rewards[0], -1);
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              registry.part<RewardFunctions>().add("json", [](const RewardInput&) { return 1; });
            }),
            "[RewardFunctions] the name \"json\" is taken");
  EXPECT_EQ(test::message_of<UsageError>(
                [&] { made(R"({"type": "shorter", "beta": 1})", copy.part<RewardFunctions>()); }),
            "c.json:1: unknown key \"beta\" in reward \"shorter\"; known keys: type, weight, name");
}

TEST(RewardFunctions, RefuseWhatTheyDoNotKnow) {
  const std::string shape =
      ": a reward is an object with a \"type\", for example {\"type\": \"answer\"}; several are a "
      "list of such objects";
  EXPECT_EQ(refusal("3"), "c.json:1" + shape);
  EXPECT_EQ(refusal("[{\"type\": \"json\"},\n {\"weight\": 1}]"), "c.json:2" + shape);
  for (const char* none : {"null", "[]"})
    EXPECT_EQ(refusal(none),
              "c.json:1: \"reward\" is missing, for example [{\"type\": \"answer\"}]");
  EXPECT_EQ(refusal(R"({"type": "anwser"})"),
            "c.json:1: unknown reward \"anwser\"; did you mean \"answer\"?");
  EXPECT_EQ(refusal(R"({"type": "?"})"),
            "c.json:1: unknown reward \"?\"; known rewards: answer, exact, number, format, length, "
            "overlong, cosine, repetition, json, model, judge, subprocess, http");
  EXPECT_EQ(refusal(R"([{"type": "json", "name": "a"}, {"type": "exact", "name": "a"}])"),
            "c.json:1: the name \"a\" is that of another reward, too");
  EXPECT_EQ(refusal(R"({"type": "json", "name": ""})"), "c.json:1: the name \"\" is empty");
  EXPECT_EQ(refusal(R"({"type": "json", "weight": "x"})"),
            "c.json:1: weight must be a number; got \"x\"");
  EXPECT_EQ(refusal(R"({"type": "exact", "colum": "x"})"),
            "c.json:1: unknown key \"colum\" in reward \"exact\"; did you mean \"column\"?");
  EXPECT_EQ(refusal(R"({"type": "overlong", "max_length": 2, "cache": 3})"),
            "c.json:1: the soft overlong punishment has cache 3, which must not exceed max_length "
            "2");
}

}  // namespace
}  // namespace luce
