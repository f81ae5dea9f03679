// Models of scores: what a folder says, where scores are read, what does not fit.
#include "luce/model/score_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/model/causal_lm.h"
#include "support/support.h"

namespace luce {
namespace {

Json config_of(const std::filesystem::path& folder) {
  return parse_json(read_file(folder / "config.json"), "config.json");
}

TEST(ScoreModel, OfEachKindComesBackFromItsFolder) {
  const test::TemporaryFolder folder, out;
  test::small_model(at::kFloat)->save(folder.path());
  for (const auto& [kind, class_name, labels] :
       {std::tuple{ScoreKind::reward, "LlamaForSequenceClassification", 1},
        std::tuple{ScoreKind::outcome, "LlamaForTokenClassification", 1},
        std::tuple{ScoreKind::process, "LlamaForTokenClassification", 2}})
    for (const std::string head : {"linear", "mlp"}) {
      const auto model =
          ScoreModel::start(folder.path(), {.kind = kind, .head = head, .pad_token_id = 3}, 5);
      model->score_config().scores = Moments{0.5, 2};
      model->save(out.path());
      const Json config = config_of(out.path());
      EXPECT_EQ(config["architectures"], Json::array({class_name}));
      EXPECT_EQ(config["id2label"].size(), static_cast<size_t>(labels));
      EXPECT_EQ(config["pad_token_id"], 3);
      const auto loaded = ScoreModel::load(out.path());
      EXPECT_EQ(loaded->score_config().kind, kind);
      EXPECT_EQ(loaded->score_config().head, head);
      EXPECT_EQ(loaded->score_config().scores->deviation, 2);
      const at::NoGradGuard no_grad;
      const Tensor hidden = at::randn({3, 16});
      EXPECT_TRUE(at::equal(loaded->scores(hidden), model->scores(hidden)));
      EXPECT_TRUE(at::equal(model->clone()->scores(hidden), model->scores(hidden)));
      EXPECT_EQ(loaded->scores(hidden).size(1), labels);
    }
}

TEST(ScoreModel, StartsFromATrunkWithAHeadDrawnBySeed) {
  const test::TemporaryFolder folder;
  test::small_model(at::kFloat, false)->save(folder.path());  // its output matrix is left behind
  const ScoreConfig wanted{.count = 400};
  const auto a = ScoreModel::start(folder.path(), wanted, 5);
  const auto b = ScoreModel::start(folder.path(), wanted, 5);
  const auto c = ScoreModel::start(folder.path(), wanted, 6);
  const Tensor head = a->parameters().back().work;
  EXPECT_EQ(a->parameters().back().name, "score.weight");
  EXPECT_TRUE(at::equal(head, b->parameters().back().work));
  EXPECT_FALSE(at::equal(head, c->parameters().back().work));
  // 6400 normal numbers of deviation 1/√17: their own deviation is within 4 standard errors.
  EXPECT_NEAR(head.std().item<double>() * std::sqrt(17), 1, 4 / std::sqrt(2.0 * 6400));
  EXPECT_NEAR(head.mean().item<double>() * std::sqrt(17), 0, 4 / std::sqrt(6400.0));
  const auto language = CausalLM::load(folder.path());
  for (size_t i = 0; i + 1 < a->parameters().size(); ++i)
    EXPECT_TRUE(at::equal(a->parameters()[i].work, language->parameters()[i].work));
}

TEST(ScoreModel, ReadsEachAnswerAtItsOwnRows) {
  const test::TemporaryFolder folder;
  test::small_model(at::kDouble)->save(folder.path());
  const auto model = ScoreModel::start(folder.path(), {}, 5, {.dtype = at::kDouble});
  const at::NoGradGuard no_grad;
  auto rows = test::random_pairs(4);
  const auto score = [&](const std::vector<Example>& some, bool sharing) {
    const Batch batch =
        make_batch(test::pointers(some), {.prefix_sharing = sharing, .own_rows = true});
    const auto places = score_places(batch, ScoreKind::reward);
    const Tensor hidden =
        model->trunk(model->embed(batch.tokens), batch.positions, batch.segments());
    return model->scores(hidden.index_select(0, places.rows)).squeeze(1);
  };
  const Tensor together = score(rows, true);
  EXPECT_TRUE(test::close(score(rows, false), together, 1e-12));
  // One answer alone, as one text: its score is read at the last of its tokens.
  for (size_t q = 0; q < rows.size(); ++q)
    for (size_t k = 0; k < 2; ++k) {
      std::vector<int64_t> ids = rows[q].prompt;
      ids.insert(ids.end(), rows[q].completions[k].begin(), rows[q].completions[k].end());
      const auto n = static_cast<int64_t>(ids.size());
      const Tensor hidden = model->trunk(model->embed(at::tensor(ids, at::kLong)),
                                         at::arange(n, at::kLong), {{0, n, 0, 0}});
      EXPECT_NEAR(model->scores(hidden[n - 1].unsqueeze(0)).item<double>(),
                  together[static_cast<int64_t>(2 * q + k)].item<double>(), 1e-12);
    }
}

TEST(ScoreModel, PlacesAreTheEndsOfStepsAndAllTokens) {
  Example row{.prompt = {1, 2}, .completions = {{3, 4, 5, 6}}, .row = 1};
  row.roles = {Role::chosen};
  row.steps = {{2, true}, {4, false}};
  const Batch batch = make_batch({&row}, {.own_rows = true});
  EXPECT_EQ(batch.tokens.numel(), 6);
  const auto rows = [&](ScoreKind kind) { return score_places(batch, kind).rows; };
  EXPECT_TRUE(at::equal(rows(ScoreKind::reward), at::tensor({5}, at::kLong)));
  EXPECT_TRUE(at::equal(rows(ScoreKind::outcome), at::tensor({2, 3, 4, 5}, at::kLong)));
  EXPECT_TRUE(at::equal(rows(ScoreKind::process), at::tensor({3, 5}, at::kLong)));
  EXPECT_EQ(
      test::message_of<ArgumentError>([&] { score_places(make_batch({&row}), ScoreKind::reward); }),
      "[score_places] the batch was made without BatchOptions::own_rows");
}

TEST(ScoreModel, RefusesAFolderWithAnotherHead) {
  const test::TemporaryFolder folder, out;
  test::small_model(at::kFloat)->save(folder.path());
  const std::string name = out.path().string();
  EXPECT_EQ(test::message_of<DataError>([&] { ScoreModel::load(folder.path()); }),
            folder.path().string() +
                ": this model has no head of scores; a reward model is what `luce train` makes "
                "with task \"reward\"");
  ScoreModel::start(folder.path(), {.count = 2}, 5)->save(out.path());
  EXPECT_EQ(test::message_of<DataError>([&] { ScoreModel::start(out.path(), {}, 5); }),
            name +
                " has a linear head of 2 scores (reward) and the config asks for a linear head "
                "of 1 score (reward); start from the language model, or change loss.type, "
                "head.kind or head.count");
  Json config = config_of(out.path());
  config["id2label"]["2"] = "third";
  out.file("config.json", config.dump());
  EXPECT_EQ(test::message_of<DataError>([&] { ScoreModel::load(out.path()); }),
            name + ": the tensor \"score.weight\" has shape [2, 16]; config.json asks for [3, 16]");
}

TEST(ScoreConfig, RefusesValuesThatMakeNoSense) {
  const auto refused = [](const Json& extra, const std::string& class_name) {
    Json config{{"architectures", {class_name}}};
    config.update(extra);
    return test::message_of<DataError>([&] { parse_score_config(config, "config.json"); });
  };
  EXPECT_EQ(refused(Json{{"num_labels", 3}}, "LlamaForTokenClassification"),
            "config.json: a model that scores tokens has 1 label (is the answer right?) or 2 (is "
            "the step wrong, is it right?); this one has 3");
  EXPECT_EQ(refused(Json{{"num_labels", 0}}, "LlamaForSequenceClassification"),
            "config.json: num_labels must be a whole number from 1 to 1024, got 0");
  EXPECT_EQ(refused(Json{{"luce", 1}}, "LlamaForSequenceClassification"),
            "config.json: luce must be an object");
  EXPECT_EQ(refused(Json{{"luce", Json{{"head", "deep"}}}}, "LlamaForSequenceClassification"),
            "config.json: luce.head must be \"linear\" or \"mlp\", got \"deep\"");
  EXPECT_EQ(refused(Json{{"luce", Json{{"scores", Json{{"mean", 0}, {"std", 0}}}}}},
                    "LlamaForSequenceClassification"),
            "config.json: luce.scores must be {\"mean\": a number, \"std\": a number above 0}, got "
            "{\"mean\":0,\"std\":0}");
  EXPECT_FALSE(parse_score_config(Json{{"architectures", {"LlamaForCausalLM"}}}, "config.json"));
}

}  // namespace
}  // namespace luce
