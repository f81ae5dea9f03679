// Losses of reward models against their formulas.
#include "luce/loss/reward.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/loss/bradley_terry.h"
#include "luce/loss/mixture.h"
#include "luce/loss/reward_mixture.h"
#include "luce/loss/reward_outcome.h"
#include "luce/loss/reward_plackett_luce.h"
#include "luce/loss/reward_process.h"
#include "luce/loss/reward_regression.h"
#include "support/support.h"

namespace luce {
namespace {

Tensor numbers(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double nll(double h) { return std::log1p(std::exp(-h)); }  // −log σ(h)

/// Pairs with the scores (chosen, rejected, chosen, …) of one head or several.
ScoreInputs pairs(const Tensor& scores) {
  ScoreInputs x{.scores = scores.dim() == 1 ? scores.unsqueeze(1) : scores,
                .offset = {},
                .role = {},
                .group = {},
                .columns = {}};
  for (int64_t c = 0; c <= x.scores.size(0); ++c) x.offset.push_back(c);
  for (int64_t c = 0; c < x.scores.size(0); ++c)
    x.role.push_back(c % 2 == 0 ? Role::chosen : Role::rejected);
  for (int64_t c = 0; c <= x.scores.size(0); c += 2) x.group.push_back(c);
  return x;
}

std::vector<double> values_of(const Terms& terms) {
  const Tensor v = terms.front().value.detach().to(at::kDouble).contiguous();
  return {v.const_data_ptr<double>(), v.const_data_ptr<double>() + v.numel()};
}

void expect_all_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
}

TEST(BradleyTerry, IsItsFormulaWithMarginSmoothingAndCentring) {
  Metrics metrics;
  ScoreInputs x = pairs(numbers({1.5, 0.25, -2, 3, 0.5, 0.5}));
  expect_all_near(values_of(BradleyTerry()(x, metrics)), {nll(1.25), nll(-5), std::log(2)});
  x.columns.margin = {0.5, 0, 1};
  expect_all_near(values_of(BradleyTerry()(x, metrics)), {nll(0.75), nll(-5), nll(-1)});
  const BradleyTerry all({.label_smoothing = 0.1, .center_rewards_coefficient = 0.01});
  const auto smooth = [](double h, double sum) {
    return 0.9 * nll(h) + 0.1 * nll(-h) + 0.01 * sum * sum;
  };
  expect_all_near(values_of(all(x, metrics)), {smooth(0.75, 1.75), smooth(-5, 1), smooth(-1, 1)});
  x.columns.margin = {};
  x.columns.preference = {1, 0.5, 0};  // the last label says that the rejected answer is better
  expect_all_near(values_of(BradleyTerry()(x, metrics)),
                  {nll(1.25), 0.5 * (nll(-5) + nll(5)), std::log(2)});
}

TEST(BradleyTerry, HasTheGradientOfAClassifier) {
  Metrics metrics;
  const Tensor scores = numbers({1.5, 0.25, -2, 3}).requires_grad_(true);
  const Tensor loss = reduce(BradleyTerry()(pairs(scores), metrics), {.items = 2});
  loss.backward();
  const double first = sigmoid(-1.25) / 2, second = sigmoid(5) / 2;
  EXPECT_TRUE(test::close(scores.grad(), numbers({-first, first, -second, second}), 1e-12));
}

TEST(BradleyTerry, OfSeveralHeadsIsTheMeanOverWhatEachLearns) {
  Metrics metrics;
  ScoreInputs x = pairs(numbers({1, 2, 0, 0, 3, -1, 1, 1}).view({4, 2}));
  const double a = nll(1), b = nll(2), c = nll(2), d = nll(-2);
  expect_all_near(values_of(BradleyTerry()(x, metrics)), {(a + b) / 2, (c + d) / 2});
  x.share = numbers({2, 0, 0, 2}).view({2, 2});  // each head learns from half of the pairs
  expect_all_near(values_of(BradleyTerry()(x, metrics)), {a, d});
}

TEST(RewardPlackettLuce, IsTheLikelihoodOfTheOrderAndOfPairsBradleyTerry) {
  Metrics metrics;
  const Tensor scores = numbers({0.3, 1.1, -0.4});
  ScoreInputs x{.scores = scores.unsqueeze(1),
                .offset = {0, 1, 2, 3},
                .role = {Role::ranked, Role::ranked, Role::ranked},
                .group = {0, 3},
                .columns = {}};
  x.columns.score = {2, 3, 1};  // the second answer is best, then the first
  const double e0 = std::exp(0.3), e1 = std::exp(1.1), e2 = std::exp(-0.4);
  const double best = e1 / (e0 + e1 + e2), next = e0 / (e0 + e2);
  expect_all_near(values_of(RewardPlackettLuce()(x, metrics)), {-std::log(best * next)});
  expect_all_near(values_of(RewardPlackettLuce({.form = "top1"})(x, metrics)), {-std::log(best)});
  const ScoreInputs two = pairs(numbers({1.5, 0.25, -2, 3}));
  expect_all_near(values_of(RewardPlackettLuce()(two, metrics)),
                  values_of(BradleyTerry()(two, metrics)));
}

TEST(RewardRegression, IsTheSquaredErrorOfEachAnswer) {
  Metrics metrics;
  ScoreInputs x = pairs(numbers({1.5, 0.25, -2, 3}));
  x.columns.score = {1, 0, 0.5, -1};
  const Terms terms = RewardRegression()(x, metrics);
  EXPECT_EQ(terms.front().per, Per::sequence);
  expect_all_near(values_of(terms), {0.25, 0.0625, 6.25, 16});
}

TEST(RewardOutcome, LearnsTheLabelAtEveryToken) {
  Metrics metrics;
  ScoreInputs x = pairs(numbers({0.5, -1, 2}));
  x.offset = {0, 2, 3};  // a right answer of two tokens, a wrong one of one
  x.role = {Role::chosen, Role::rejected};
  x.group = {0, 1, 2};
  const Terms terms = RewardOutcome()(x, metrics);
  EXPECT_EQ(terms.front().per, Per::token);
  expect_all_near(values_of(terms), {nll(0.5), nll(-1), nll(-2)});
}

TEST(RewardProcess, IsTheCrossEntropyOfSteps) {
  Metrics metrics;
  ScoreInputs x{.scores = numbers({0, 1, 2, -1, 0.5, 0.5}).view({3, 2}),
                .offset = {0, 2, 3},
                .role = {Role::chosen, Role::rejected},
                .group = {0, 1, 2},
                .columns = {}};
  x.columns.steps = {{{4, true}, {9, false}}, {{5, false}}};
  const Terms all = RewardProcess()(x, metrics);
  EXPECT_EQ(all.front().per, Per::judged_step);
  expect_all_near(values_of(all), {nll(1), nll(3), std::log(2)});
  const Terms last = RewardProcess({.train_on_last_step_only = true})(x, metrics);
  EXPECT_EQ(last.front().per, Per::sequence);
  expect_all_near(values_of(last), {0, nll(3), std::log(2)});
}

TEST(RewardMixture, TakesOneStepOfExpectationMaximisation) {
  Metrics metrics;
  // Two pairs of rater 0, who agrees with head 0, and one of rater 1, who agrees with head 1.
  ScoreInputs x = pairs(numbers({2, 0, 0, 1, 1, 0, 0, 1, 0, 3, 1, 0}).view({6, 2}));
  x.columns.rater = {0, 0, 1};
  RewardMixture loss({.prior = 1});
  const auto likelihood = [&](double a, double b) { return sigmoid(a) * sigmoid(b); };
  const double h0 = likelihood(2, 1), h1 = likelihood(-1, -1), g0 = h0 / (h0 + h1);
  const double k0 = sigmoid(-1), k1 = sigmoid(3), g2 = k0 / (k0 + k1);
  expect_all_near(values_of(loss(x, metrics)),
                  {g0 * nll(2) + (1 - g0) * nll(-1), g0 * nll(1) + (1 - g0) * nll(-1),
                   g2 * nll(-1) + (1 - g2) * nll(3)});
  loss.observe(x);
  const double alpha = (2 * g0 + g2 + 1) / 5;  // the prior adds a pair to each head
  EXPECT_NEAR(loss.state()["alpha"][0].get<double>(), alpha, 1e-12);
  RewardMixture loaded({.prior = 1});
  loaded.load_state(loss.state());
  expect_all_near(values_of(loaded(x, metrics)), values_of(loss(x, metrics)));
  EXPECT_EQ(test::message_of<DataError>([&] { loaded.load_state(nullptr); }),
            "the checkpoint holds no shares of raters: null");
  EXPECT_EQ(test::message_of<DataError>([&] {
              loss.check_rows({Example{{1}, {{2}, {3}}}});
            }),
            "mixture: no row names its rater in the column \"rater\"; without names every pair is "
            "a rater of its own, and kinds of raters cannot be told apart");
}

TEST(RewardLoss, RefusesRowsAndStatesThatAreNotItsOwn) {
  Metrics metrics;
  ScoreInputs x = pairs(numbers({1, 2}));
  x.role = {Role::chosen, Role::chosen};
  EXPECT_EQ(test::message_of<DataError>([&] { BradleyTerry()(x, metrics); }),
            "a row has 2 chosen answers where a pair has one");
  BradleyTerry loss;
  EXPECT_EQ(test::message_of<DataError>([&] {
              loss.load_state(Json{{"alpha", 1}});
            }),
            "the checkpoint holds the state of another loss: {\"alpha\":1}");
}

TEST(RewardRegistry, KnowsItsLossesByNameAndRefusesOthers) {
  const Registry registry = Registry::with_builtins();
  std::string names;
  for (const auto& info : registry.reward_losses()) names += info.name + " ";
  EXPECT_EQ(names, "bradley_terry plackett_luce regression outcome process mixture ");
  const auto refused = [&](const Json& loss) {
    const Document config = Document::of(Json{{"loss", loss}}, "reward.json");
    return test::message_of<UsageError>([&] { registry.make_reward_loss(config); });
  };
  EXPECT_EQ(refused(Json{{"type", "bradly_terry"}}),
            "reward.json: unknown reward loss \"bradly_terry\"; did you mean \"bradley_terry\"?");
  EXPECT_EQ(refused(Json{{"type", "dpo"}}),
            "reward.json: unknown reward loss \"dpo\"; known reward losses: bradley_terry, "
            "plackett_luce, regression, outcome, process, mixture");
  EXPECT_EQ(refused(Json::array({"dpo"})),
            "reward.json: the loss of task \"reward\" is one object with a \"type\", for example "
            "{\"type\": \"bradley_terry\"}");
  EXPECT_EQ(registry.resolve_reward_loss(Document()).dump(),
            R"({"type":"bradley_terry","label_smoothing":0.0,"center_rewards_coefficient":0.0})");
}

}  // namespace
}  // namespace luce
