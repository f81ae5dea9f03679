// What combines and reduces scores against closed forms; scorers against the models they read.
#include "luce/rl/scorer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/model/roles.h"
#include "support/support.h"

namespace luce {
namespace {

std::shared_ptr<ScoreModel> score_model(const ScoreConfig& config, uint64_t seed = 3) {
  return ScoreModel::start(test::golden("tiny"), config, seed, {.dtype = at::kDouble});
}

Tensor& head_of(ScoreModel& model) { return model.parameters().back().work; }

std::vector<double> values(const std::vector<AnswerScore>& scores) {
  std::vector<double> out;
  for (const auto& score : scores) out.push_back(score.value);
  return out;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double bound) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], bound) << i;
}

/// Scores at the places of one row's answers, straight from the model: [R, outputs].
std::vector<Tensor> raw_scores(const ScoreModel& model, const Example& row) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> out;
  for (const auto& completion : row.completions) {
    Example one = row;
    one.completions = {completion};
    one.roles = {Role::ranked};
    const Batch batch = make_batch({&one}, {.own_rows = true});
    const auto places = score_places(batch, model.score_config().kind);
    const Tensor hidden = model.trunk(model.embed(batch.tokens), batch.positions, batch.segments());
    out.push_back(model.scores(hidden.index_select(0, places.rows)));
  }
  return out;
}

TEST(Combined, IsItsFormula) {
  const std::vector<double> members = {1, 2, 6};  // mean 3, variance (4 + 1 + 9) / 2
  const double deviation = std::sqrt(7.0);
  const auto value = [&](const char* how, double kappa) {
    const AnswerScore score = combined(members, {how, kappa});
    EXPECT_NEAR(score.deviation, deviation, 1e-15) << how;
    return score.value;
  };
  EXPECT_EQ(value("mean", 5), 3);
  EXPECT_EQ(value("min", 5), 1);
  EXPECT_NEAR(value("lower_bound", 2), 3 - 2 * deviation, 1e-15);
  EXPECT_NEAR(value("variance_penalty", 0.5), -0.5, 1e-15);
  const AnswerScore one = combined({4}, {});
  EXPECT_EQ(one.value, 4);
  EXPECT_EQ(one.deviation, 0);
}

TEST(Combined, RefusesWhatItCannotDo) {
  EXPECT_EQ(test::message_of<UsageError>([] { combined({1}, {"min"}); }),
            "\"min\" compares the members of an ensemble, and there is one; give several folders, "
            "or a model trained with head.count of 2 or more");
  EXPECT_EQ(test::message_of<UsageError>([] {
              combined({1, 2}, {"max"});
            }),
            "an ensemble is combined by mean, min, lower_bound or variance_penalty; got \"max\"");
  EXPECT_EQ(test::message_of<ArgumentError>([] { combined({}, {}); }),
            "[combined] an ensemble needs a member");
}

TEST(Reduced, IsItsFormula) {
  const std::vector<double> steps = {0.5, 0.25, 0.75};
  EXPECT_EQ(reduced(steps, "last"), 0.75);
  EXPECT_EQ(reduced(steps, "min"), 0.25);
  EXPECT_EQ(reduced(steps, "mean"), 0.5);
  EXPECT_EQ(reduced(steps, "sum"), 1.5);
  EXPECT_EQ(reduced(steps, "product"), 0.09375);
  EXPECT_TRUE(std::isnan(reduced({}, "min")));
  EXPECT_EQ(test::message_of<UsageError>([&] { reduced(steps, "max"); }),
            "scores of steps are reduced by last, min, mean, product or sum; got \"max\"");
}

TEST(RewardScorer, ReadsTheHeadAtTheLastToken) {
  const auto model = score_model({});
  const auto rows = test::random_pairs(5);
  std::vector<double> want;
  for (const auto& row : rows)
    for (const Tensor& scores : raw_scores(*model, row)) want.push_back(scores.item<double>());
  for (const int64_t tokens : {1, 30, 100000})
    expect_near(values(RewardScorer({model}, {.micro_batch_tokens = tokens})(test::pointers(rows))),
                want, 1e-10);
}

TEST(RewardScorer, HeadsOfOneFolderAreMembersAsFoldersAre) {
  const auto both = score_model({.count = 2}), first = score_model({}), second = score_model({});
  head_of(*first).copy_(head_of(*both).narrow(0, 0, 1));
  head_of(*second).copy_(head_of(*both).narrow(0, 1, 1));
  const auto rows = test::random_pairs(4);
  const auto pointers = test::pointers(rows);
  const RewardScorerOptions options = {.ensemble = {"lower_bound", 0.5}};
  const auto heads = RewardScorer({both}, options)(pointers);
  const auto folders = RewardScorer({first, second}, options)(pointers);
  const auto a = values(RewardScorer({first}, {})(pointers));
  const auto b = values(RewardScorer({second}, {})(pointers));
  ASSERT_EQ(heads.size(), 8U);
  ASSERT_EQ(folders.size(), 8U);
  for (size_t i = 0; i < 8; ++i) {
    const double deviation = std::abs(a[i] - b[i]) / std::sqrt(2.0);  // of two members
    EXPECT_NEAR(heads[i].deviation, deviation, 1e-10);
    EXPECT_NEAR(folders[i].deviation, deviation, 1e-10);
    EXPECT_NEAR(heads[i].value, (a[i] + b[i]) / 2 - deviation / 2, 1e-10);
    EXPECT_NEAR(folders[i].value, heads[i].value, 1e-10);
  }
}

TEST(RewardScorer, NormalisesAndReturnsToTheScaleOfItsTargets) {
  const auto model = score_model({});
  const auto rows = test::random_pairs(3);
  const auto pointers = test::pointers(rows);
  const auto raw = values(RewardScorer({model}, {})(pointers));
  model->score_config().targets = Moments{10, 3};
  const auto scaled = values(RewardScorer({model}, {})(pointers));
  model->score_config().scores = Moments{9, 2};
  const auto normal = values(RewardScorer({model}, {.normalise = true})(pointers));
  for (size_t i = 0; i < raw.size(); ++i) {
    EXPECT_NEAR(scaled[i], 10 + 3 * raw[i], 1e-10);
    EXPECT_NEAR(normal[i], (scaled[i] - 9) / 2, 1e-10);
  }
}

TEST(RewardScorer, AnOutcomeModelGivesProbabilitiesOfTokens) {
  const auto model = score_model({.kind = ScoreKind::outcome});
  const auto rows = test::random_pairs(3);
  const auto scores = RewardScorer({model}, {.reduce = "min", .dense = true})(test::pointers(rows));
  ASSERT_EQ(scores.size(), 6U);
  size_t answer = 0;
  for (const auto& row : rows)
    for (const Tensor& raw : raw_scores(*model, row)) {
      const Tensor p = raw.sigmoid().flatten();
      std::vector<double> want(p.const_data_ptr<double>(), p.const_data_ptr<double>() + p.numel());
      expect_near(scores[answer].dense, want, 1e-10);
      EXPECT_NEAR(scores[answer].value, *std::min_element(want.begin(), want.end()), 1e-10);
      ++answer;
    }
}

TEST(RewardScorer, AProcessModelGivesProbabilitiesOfSteps) {
  const auto model = score_model({.kind = ScoreKind::process});
  Example row = test::random_pairs(1)[0];
  row.completions = {{3, 4, 5, 6, 7}};
  row.roles = {Role::chosen};
  row.steps = {{2, true}, {5, false}};
  const Tensor p = raw_scores(*model, row)[0].softmax(1).select(1, 1).contiguous();
  const auto scores = RewardScorer({model}, {.reduce = "product", .dense = true})({&row});
  ASSERT_EQ(scores.size(), 1U);
  ASSERT_EQ(scores[0].dense.size(), 2U);
  EXPECT_NEAR(scores[0].dense[0], p[0].item<double>(), 1e-10);
  EXPECT_NEAR(scores[0].dense[1], p[1].item<double>(), 1e-10);
  EXPECT_NEAR(scores[0].value, p[0].item<double>() * p[1].item<double>(), 1e-10);
}

TEST(RewardScorer, RefusesMembersThatDoNotFit) {
  const auto reward = score_model({}), process = score_model({.kind = ScoreKind::process});
  EXPECT_EQ(test::message_of<UsageError>([&] {
              RewardScorer({reward, process}, {});
            }),
            "the members of an ensemble must be of one kind; these are reward and process models");
  EXPECT_EQ(test::message_of<UsageError>([&] { RewardScorer({reward}, {.normalise = true}); }),
            "the model's folder does not say the mean and deviation of its scores (\"luce\": "
            "{\"scores\": …} in config.json), so that they cannot be normalised");
  EXPECT_EQ(test::message_of<ArgumentError>([] { RewardScorer({}, {}); }),
            "[RewardScorer] no model is given");
}

TEST(ImplicitScorer, IsBetaTimesTheLogRatio) {
  const ModelOptions wide = {.dtype = at::kDouble};
  const auto policy = CausalLM::load(test::golden("tiny"), wide);
  const auto reference = CausalLM::load(test::golden("tiny-untied"), wide);
  const auto rows = test::random_pairs(4);
  const auto got = values(ImplicitScorer(policy, reference, 0.3, 40)(test::pointers(rows)));
  std::vector<double> want;
  for (const auto& row : rows)
    for (const auto& completion : row.completions) {
      const at::NoGradGuard no_grad;
      Example one = {.prompt = row.prompt, .completions = {completion}};
      const Batch batch = make_batch({&one});
      const auto logp = [&](const std::shared_ptr<CausalLM>& model) {
        const Reference m(model);
        return head(m.hidden(batch), m.head_weight(), batch.targets, {}).logps.sum().item<double>();
      };
      want.push_back(0.3 * (logp(policy) - logp(reference)));
    }
  expect_near(got, want, 1e-9);
  EXPECT_EQ(test::message_of<DataError>(
                [&] { ImplicitScorer(policy, test::small_model(at::kDouble), 0.1); }),
            "the policy's vocabulary has 352 entries, the reference's 29");
}

}  // namespace
}  // namespace luce
