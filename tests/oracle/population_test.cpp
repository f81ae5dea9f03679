#include "luce/oracle/population.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/sft.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/sequences.h"
#include "luce/oracle/table.h"
#include "support/support.h"

namespace luce::oracle {
namespace {

using test::close;

Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(Pairs, AreDrawnUniformlyOrIndependentlyGivenThatTheyDiffer) {
  EXPECT_TRUE(close(uniform_pairs(3), (1 - at::eye(3, at::kDouble)) / 6, 1e-15));
  const Tensor drawn = independent_pairs(f64({0.5, 0.3, 0.2}));
  EXPECT_NEAR(drawn.sum().item<double>(), 1, 1e-15);
  EXPECT_NEAR((drawn[0][1] / drawn[1][2]).item<double>(), 0.15 / 0.06, 1e-14);
  EXPECT_EQ(drawn.trace().item<double>(), 0);
}

TEST(Population, HoldsBothLabelsOfAPairByTheirProbability) {
  const Tensor preference = f64({0.5, 0.9, 1, 0.1, 0.5, 0.4, 0, 0.6, 0.5}).view({3, 3});
  const Tensor once = f64({0, 0.5, 0.3, 0, 0, 0.2, 0, 0, 0}).view({3, 3});  // {i, j} as i < j
  for (const Tensor& sampling : {once, (once + once.t()) / 2}) {
    const auto pairs = population(preference, sampling);
    EXPECT_EQ(pairs.chosen, (std::vector<int64_t>{0, 0, 1, 1, 2}));
    EXPECT_EQ(pairs.rejected, (std::vector<int64_t>{1, 2, 0, 2, 1}));
    EXPECT_TRUE(close(pairs.probability, f64({0.45, 0.3, 0.05, 0.08, 0.12}), 1e-15));
    EXPECT_TRUE(close(pairs.margin(f64({1, 2, 4})), f64({-1, -3, 1, -2, 2}), 0));
    EXPECT_NEAR(pairs.mean(f64({1, 0, 0, 0, 2})).item<double>(), 0.69, 1e-15);
  }
}

TEST(Population, SaysWhatDoesNotFit) {
  const auto message = [](const Tensor& preference, const Tensor& sampling) {
    return test::message_of<ArgumentError>([&] { population(preference, sampling); });
  };
  const Tensor even = at::full({2, 2}, 0.5, at::kDouble);
  EXPECT_EQ(
      message(even, uniform_pairs(3)),
      "[population] preference and sampling must be square tables of one size; got f64 [2, 2] "
      "and f64 [3, 3]");
  EXPECT_EQ(
      message(even, at::full({2, 2}, 0.5, at::kDouble)),
      "[population] sampling must sum to 1 and be 0 on its diagonal; got a sum of 2, of which "
      "1 is on the diagonal");
  EXPECT_EQ(message(f64({0.5, 0.75, 0.5, 0.5}).view({2, 2}), uniform_pairs(2)),
            "[population] preference[i][j] and preference[j][i] must sum to 1; got sums that are "
            "off by up to 0.25");
}

TEST(PopulationLoss, IsTheMeanOfTheLossOfEveryPair) {
  const Tensor logp = log_policy(normal({3}, 1)).requires_grad_(true),
               log_ref = log_policy(normal({3}, 2));
  const auto pairs = population(bradley_terry(normal({3}, 3)), uniform_pairs(3));
  const auto loss = [&](const Tensor& at) {
    return population_loss(Dpo({.beta = 0.5}), pairs, one_token_each(at), one_token_each(log_ref));
  };
  double want = 0;
  const Tensor h = 0.5 * (logp - log_ref);
  for (size_t p = 0; p < pairs.chosen.size(); ++p)
    want -= pairs.probability[static_cast<int64_t>(p)].item<double>() *
            at::log_sigmoid(h[pairs.chosen[p]] - h[pairs.rejected[p]]).item<double>();
  EXPECT_NEAR(loss(logp).item<double>(), want, 1e-15);
  const auto value = [&](const Tensor& at) { return loss(at).item<double>(); };
  EXPECT_LT(test::gradient_error(value, logp, gradient(loss(logp), logp)), 1e-8);
}

/// A large sample whose shares are the probabilities is one step of the population.
TEST(PopulationLoss, EqualsAStepThatHoldsEveryPairAsOftenAsItComes) {
  const Sequences s = all_sequences(2, 2, Ending::eos);  // answers of 1, 2 and 2 tokens
  const TokenValues policy = s.logps(normal({2, 2}, 4)), reference = s.logps(normal({2, 2}, 5));
  const PairPopulation pairs{{0, 1}, {2, 0}, f64({0.75, 0.25})};
  const PairPopulation sample{{0, 0, 0, 1}, {2, 2, 2, 0}, at::full({4}, 0.25, at::kDouble)};
  const Dpo dpo;
  const Sft sft;
  for (const SequenceLoss* loss :
       {static_cast<const SequenceLoss*>(&dpo), static_cast<const SequenceLoss*>(&sft)})
    EXPECT_NEAR(population_loss(*loss, pairs, policy, reference).item<double>(),
                population_loss(*loss, sample, policy, reference).item<double>(), 1e-15);
  const Tensor answers = policy.sum();  // chosen tokens: 3/4 · 1 + 1/4 · 2
  EXPECT_NEAR(population_loss(Sft(), pairs, policy, reference).item<double>(),
              -(0.75 * answers[0] + 0.25 * answers[1]).item<double>() / 1.25, 1e-15);
}

/// Terms of one value a token, of all answers or of those with one role.
struct TokenLoss : SequenceLoss {
  Per per;
  Needs wants = {.couples = Coupling::token};
  explicit TokenLoss(Per p) : per(p) {}
  Needs needs() const override { return wants; }
  Terms operator()(const GroupInputs& x, Metrics&) const override {
    if (per == Per::token) return {{-x.logps.values, per, 1}};
    const Role role = per == Per::chosen_token ? Role::chosen : Role::rejected;
    std::vector<Tensor> own;
    for (size_t c = 0; c < x.role.size(); ++c)
      if (x.role[c] == role)
        own.push_back(-x.logps.values.slice(0, x.logps.offset[c], x.logps.offset[c + 1]));
    return {{at::cat(own), per, 1}};
  }
};

TEST(PopulationLoss, WeightsTokensByTheirPair) {
  const Sequences s = all_sequences(2, 2, Ending::eos);  // answers of 1, 2 and 2 tokens
  const TokenValues policy = s.logps(normal({2, 2}, 4));
  const Tensor y = policy.sum();
  const PairPopulation pairs{{0, 1}, {2, 0}, f64({0.75, 0.25})};
  const auto loss = [&](Per per) { return population_loss(TokenLoss(per), pairs, policy, policy); };
  const Tensor chosen = 0.75 * y[0] + 0.25 * y[1], rejected = 0.75 * y[2] + 0.25 * y[0];
  EXPECT_TRUE(close(loss(Per::token), -(chosen + rejected) / 3, 1e-15));
  EXPECT_TRUE(close(loss(Per::chosen_token), -chosen / 1.25, 1e-15));
  EXPECT_TRUE(close(loss(Per::rejected_token), -rejected / 1.75, 1e-15));
}

TEST(FittedPolicy, IsTheOptimumUnderAKlPenaltyForDpo) {
  const KlObjective j{log_policy(normal({4}, 6)), normal({4}, 7), 0.1};
  const auto pairs = population(bradley_terry(j.reward), independent_pairs(j.log_ref.exp()));
  const Minimum found = fitted_policy(Dpo({.beta = j.beta}), pairs, j.log_ref);
  EXPECT_EQ(found.stop, Stop::gradient);
  EXPECT_TRUE(close(found.x.exp(), j.log_optimum().exp(), 1e-10));
}

TEST(FittedPolicy, HasNoMinimumWhereOneAnswerAlwaysWins) {
  const Tensor even = f64({0.5, 0.5}).log();
  const Minimum found = fitted_policy(Dpo({.beta = 1}), one_pair(), even);
  EXPECT_LT(found.x[1].item<double>(), -20);  // the loss is flat to 1e-12 there, and still falling
}

TEST(PopulationLoss, FindsTheOptimumOverAnswersOfSeveralTokens) {
  const Sequences s = all_sequences(3, 2, Ending::eos);  // 7 answers
  const Tensor ref = normal({3, 3}, 8);
  const KlObjective j{s.logps(ref).sum(), normal({7}, 9), 0.5};
  const auto pairs = population(bradley_terry(j.reward), uniform_pairs(7));
  const auto loss = [&](const Tensor& logits) {
    return population_loss(Dpo({.beta = j.beta}), pairs, s.logps(logits), s.logps(ref));
  };
  const Minimum found = minimise(loss, ref);
  EXPECT_EQ(found.stop, Stop::gradient);
  EXPECT_TRUE(close(s.logps(found.x).sum().exp(), j.log_optimum().exp(), 1e-10));
}

TEST(PopulationLoss, RefusesWhatItHasNotGotAndTermsWithoutWeights) {
  const TokenValues policy = one_token_each(f64({-1, -2}));
  const auto message = [&](const SequenceLoss& loss) {
    return test::message_of<ArgumentError>(
        [&] { population_loss(loss, one_pair(), policy, policy); });
  };
  const auto asking = [&](const Needs& needs) {
    TokenLoss loss(Per::token);
    loss.wants = needs;
    return message(loss);
  };
  const std::string rule =
      "[population_loss] a population holds pairs and their log-probs; this loss asks for ";
  EXPECT_EQ(asking({.couples = Coupling::step}), rule + "the other pairs of its step");
  EXPECT_EQ(asking({.log_sum_p2 = true}), rule + "probabilities of further tokens");
  EXPECT_EQ(asking({.candidates = true}), rule + "probabilities of further tokens");
  EXPECT_EQ(asking({.divergences = {{}}}), rule + "probabilities of further tokens");
  EXPECT_EQ(asking({.gold = true}), rule + "gold answers");
  struct Ranked : TokenLoss {
    Ranked() : TokenLoss(Per::token) {}
    Rows rows() const override { return Rows::ranked; }
  };
  EXPECT_EQ(message(Ranked()), rule + "rankings or scores");
  struct Odd : SequenceLoss {
    Terms operator()(const GroupInputs&, Metrics&) const override { return {{at::zeros({3})}}; }
  };
  EXPECT_EQ(message(Odd()),
            "[population_loss] a term must hold one value a pair, completion or token, so that its "
            "values can be weighted by the pairs' probabilities; got f32 [3], number of pairs 1");
}

}  // namespace
}  // namespace luce::oracle
