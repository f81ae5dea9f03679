// Reward training: against TRL and transformers, its invariances, what it saves, what it refuses.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/jsonl.h"
#include "luce/data/model_folder.h"
#include "luce/loss/bradley_terry.h"
#include "luce/loss/reward_mixture.h"
#include "luce/loss/reward_outcome.h"
#include "luce/loss/reward_plackett_luce.h"
#include "luce/loss/reward_process.h"
#include "luce/loss/reward_regression.h"
#include "luce/rl/scorer.h"
#include "luce/train/reward_task.h"
#include "luce/train/run.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

Tensor& parameter(Decoder& model, const std::string& name) {
  for (auto& p : model.parameters())
    if (p.name == name) return p.work;
  throw ArgumentError("no parameter " + name);
}

Tensor numbers(const Json& values) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble);
}

/// A folder as the peers started from: a model's trunk and the recorded head.
void save_start(const fs::path& model, const Json& head, const fs::path& out) {
  const auto start = ScoreModel::start(model, {.pad_token_id = 0}, 1);
  parameter(*start, "score.weight").copy_(numbers(head).unsqueeze(0));
  make_folder(out);
  start->save(out);
  copy_tokenizer_files(model, out);
}

/// The first lines of a file of pairs, with the margins of a golden where a run has them.
std::string pair_lines(const fs::path& file, int64_t first, int64_t count, const Json& margins) {
  JsonlReader reader(file);
  JsonRow row;
  std::string out;
  for (int64_t i = 0; i < first + count && reader.next(row); ++i) {
    if (i < first) continue;
    Json line = row.value;
    if (!margins.is_null()) line["margin"] = margins[static_cast<size_t>((i - first) % 4)];
    out += line.dump() + "\n";
  }
  return out;
}

struct Trained {
  std::vector<std::map<std::string, double>> steps;
  std::map<std::string, double> eval;
  std::shared_ptr<Decoder> model;
};

Trained train_with(Json config, const fs::path& out) {
  config["task"] = "reward";
  config["output_dir"] = out.string();
  config["data"]["shuffle"] = false;
  config["train"]["logging_steps"] = 1;
  const auto document = Document::of(config, "test");
  const auto registry = Registry::with_builtins();
  RunSetup run = set_up(parse_run_config(document, registry), document, registry);
  Trained trained;
  Trainer trainer(*run.task, run.trainer);
  trainer.on_log = [&](int64_t, double, const std::map<std::string, double>& means) {
    if (means.contains("loss"))
      trained.steps.push_back(means);
    else
      trained.eval = means;
  };
  trainer.run();
  trained.model = run.model;
  return trained;
}

void expect_scaled(double got, double want, double bound, const std::string& what) {
  EXPECT_LE(std::abs(got - want), bound * std::max(1.0, std::abs(want)))
      << what << ": got " << got << ", want " << want;
}

/// Runs a golden's training and compares every step's metrics and some of the final weights.
void expect_trajectory(const Json& golden, const std::string& name, const fs::path& model,
                       const fs::path& rows) {
  const Json& run = golden[name];
  const test::TemporaryFolder folder;
  save_start(model, golden["start_head"], folder.path() / "start");
  const Json margins = name == "margin" ? golden["rows"]["margins"] : Json();
  const auto count = golden["rows"]["count"].get<int64_t>();
  Json config{{"model", {{"path", (folder.path() / "start").string()}}}};
  config["data"] = {{"train", folder.file("train.jsonl", pair_lines(rows, 0, count, margins))},
                    {"max_length", golden["config"]["max_length"]}};
  if (run.contains("eval"))
    config["data"]["eval"] =
        folder.file("eval.jsonl",
                    pair_lines(rows, count, golden["rows"]["eval_count"].get<int64_t>(), margins));
  config["loss"] = {{"type", "bradley_terry"}};
  const Json& changes = run["changes"];
  config["loss"]["center_rewards_coefficient"] = changes.value("center_rewards_coefficient", 0.0);
  config["train"] = {{"max_steps", 8},
                     {"batch_size", 4},
                     {"learning_rate", changes.value("learning_rate", 1e-4)},
                     {"lr_scheduler_type", "constant"}};
  const Trained got = train_with(config, folder.path() / "out");
  ASSERT_EQ(got.steps.size(), run["steps"].size());
  for (size_t i = 0; i < got.steps.size(); ++i)
    for (const auto& [key, value] : run["steps"][i].items()) {
      if (key == "step" || key == "epoch") continue;
      ASSERT_TRUE(got.steps[i].contains(key)) << key;
      const double want = value.get<double>();
      expect_scaled(got.steps[i].at(key), want, key == "grad_norm" ? 1e-3 : 1e-4,
                    cat(name, ": ", key, " at step ", i + 1));
    }
  const Json eval = run.value("eval", Json::object());
  for (const auto& [key, value] : eval.items()) {
    if (key == "epoch" || key == "eval_num_tokens") continue;
    expect_scaled(got.eval.at(key), value.get<double>(), 1e-4, cat(name, ": ", key));
  }
  for (const auto& [key, sums] : run["parameters"].items()) {
    const Tensor p = parameter(*got.model, key).detach().to(at::kDouble);
    expect_scaled(p.norm().item<double>(), sums["norm"].get<double>(), 1e-4, key);
    expect_scaled(p.sum().item<double>(), sums["sum"].get<double>(), 1e-3, key);
  }
}

TEST(RewardTrajectory, OfATinyModelEqualsTrls) {
  const Json golden = test::golden_json("reward_tiny.json");
  for (const std::string name : {"plain", "centred", "margin", "wide"})
    expect_trajectory(golden, name, test::golden("tiny"), test::golden("pairs_tiny.jsonl"));
}

TEST(RewardTrajectory, OfARealModelEqualsTrls) {
  LUCE_NEEDS_TEST_DATA(data);
  const Json golden = test::golden_json("reward_stories260k.json");
  for (const std::string name : {"plain", "centred", "margin"})
    expect_trajectory(golden, name, *data / "models/stories260k",
                      *data / "data/hh-harmless-test.jsonl.gz");
}

/// Scores of the golden's rows against those of transformers in f32 and in f64.
void expect_scores(const Json& golden, const fs::path& model, const fs::path& rows) {
  const test::TemporaryFolder folder;
  save_start(model, golden["start_head"], folder.path() / "start");
  const auto count = golden["rows"]["count"].get<int64_t>();
  const auto tokenizer = Tokenizer::load(folder.path() / "start");
  DatasetOptions options;
  options.max_length = golden["config"]["max_length"].get<int64_t>();
  options.overlong = "drop";
  const Dataset data = load_dataset(folder.file("rows.jsonl", pair_lines(rows, 0, count, nullptr)),
                                    tokenizer.get(), options);
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto scores = RewardScorer({ScoreModel::load(folder.path() / "start", {.dtype = dtype})},
                                     {})(test::pointers(data.examples));
    const Json& want = golden["scores"][dtype == at::kFloat ? "float32_padded" : "exact"];
    ASSERT_EQ(scores.size(), 2 * want.size());
    for (size_t i = 0; i < scores.size(); ++i)
      expect_scaled(scores[i].value, want[i / 2][i % 2].get<double>(),
                    dtype == at::kFloat ? 2e-4 : 1e-5, cat("answer ", i));
  }
}

TEST(RewardScores, OfATinyModelEqualTransformers) {
  expect_scores(test::golden_json("reward_tiny.json"), test::golden("tiny"),
                test::golden("pairs_tiny.jsonl"));
}

TEST(RewardScores, OfARealModelEqualTransformers) {
  LUCE_NEEDS_TEST_DATA(data);
  expect_scores(test::golden_json("reward_stories260k.json"), *data / "models/stories260k",
                *data / "data/hh-harmless-test.jsonl.gz");
}

/// Process and outcome models: losses and norms of gradients against plain torch in f64.
void expect_token_model(const Json& golden, ScoreKind kind) {
  const Json& want = golden[name_of(kind)];
  const auto model =
      ScoreModel::start(test::golden("tiny"), {.kind = kind}, 1, {.dtype = at::kDouble});
  Tensor& weight = parameter(*model, "score.weight");
  for (int64_t o = 0; o < weight.size(0); ++o)
    weight[o].copy_(numbers(want["head"][static_cast<size_t>(o)]));
  parameter(*model, "score.bias").copy_(numbers(want["bias"]));
  std::vector<Example> rows;
  for (const Json& row : golden["stepwise"]) {
    const auto ids = row["input_ids"].get<std::vector<int64_t>>();
    const auto prompt = row["prompt_length"].get<int64_t>();
    Example example{.prompt = {ids.begin(), ids.begin() + prompt},
                    .completions = {{ids.begin() + prompt, ids.end()}},
                    .row = static_cast<int64_t>(rows.size()) + 1};
    example.roles = {row["label"].get<bool>() ? Role::chosen : Role::rejected};
    for (size_t s = 0; s < row["labels"].size(); ++s)
      example.steps.push_back(
          {row["step_ends"][s].get<int64_t>() + 1 - prompt, row["labels"][s].get<bool>()});
    rows.push_back(std::move(example));
  }
  {  // the logits at each place
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < rows.size(); ++i) {
      const Batch batch = make_batch({&rows[i]}, {.own_rows = true});
      const Tensor hidden =
          model->trunk(model->embed(batch.tokens), batch.positions, batch.segments());
      const Tensor logits =
          model->scores(hidden.index_select(0, score_places(batch, kind).rows)).view({-1});
      std::vector<double> flat;
      for (const Json& place : want["logits"][i])
        for (const Json& value : place.is_array() ? place : Json::array({place}))
          flat.push_back(value.get<double>());
      EXPECT_TRUE(test::close(logits, at::tensor(flat, at::kDouble), 1e-5)) << i;
    }
  }
  std::unique_ptr<RewardLoss> loss;
  if (kind == ScoreKind::process)
    loss = std::make_unique<RewardProcess>();
  else
    loss = std::make_unique<RewardOutcome>();
  RewardTask task(RewardModel(model), std::move(loss), rows, {},
                  {.rows = {.batch_size = 4, .shuffle = false}});
  Metrics metrics;
  const Step step = task.next(0);
  for (size_t i = 0; i < step.micro_batches.size(); ++i) task.accumulate(step, i, metrics);
  const Json& mean = want["mean_of_all"];
  EXPECT_NEAR(metrics.sum("loss"), mean["loss"].get<double>(), 1e-5);
  for (const auto& [name, norm] : mean["grad_norms"].items()) {
    if (name == "all") continue;
    for (auto& p : model->parameters()) {
      if (p.name != name) continue;
      EXPECT_NEAR(p.grad.norm().item<double>(), norm.get<double>(), 1e-5) << name;
    }
  }
  EXPECT_NEAR(gradient_norm(model->parameters()), mean["grad_norms"]["all"].get<double>(), 1e-5);
}

TEST(ProcessModel, HasTheLossAndGradientOfPlainTorch) {
  expect_token_model(test::golden_json("reward_tiny.json"), ScoreKind::process);
}
TEST(OutcomeModel, HasTheLossAndGradientOfPlainTorch) {
  expect_token_model(test::golden_json("reward_tiny.json"), ScoreKind::outcome);
}

// Invariances: how a step is cut must not show in its gradient.

std::vector<Example> rows_for(const RewardLoss& loss) {
  std::vector<Example> rows = test::random_pairs(7);
  int64_t i = 0;
  for (auto& row : rows) {
    row.margin = 0.1 * static_cast<double>(i % 3);
    row.rater = i % 2;
    if (loss.rows() == Rows::ranked || loss.rows() == Rows::scored) {
      row.roles = {Role::ranked, Role::ranked};
      row.scores = {static_cast<double>(i % 4), 1.5};
    } else if (loss.rows() == Rows::stepwise || loss.rows() == Rows::labelled) {
      row.completions.pop_back();
      row.roles = {i % 2 == 0 ? Role::chosen : Role::rejected};
      const auto length = static_cast<int64_t>(row.completions[0].size());
      row.steps = {{1, true}};
      if (length > 1) row.steps.push_back({length, i % 2 == 0});
    }
    ++i;
  }
  return rows;
}

struct Gradients {
  std::vector<Tensor> of;
  double loss = 0;
};

Gradients gradients_of(std::unique_ptr<RewardLoss> loss, int64_t micro_batch_tokens, bool sharing,
                       bool reversed) {
  const test::TemporaryFolder folder;
  test::small_model(at::kDouble)->save(folder.path());
  const int64_t heads = loss->kind() == ScoreKind::reward ? 2 : 1;
  const double subsample = loss->subsamples() ? 0.6 : 1;
  const auto model = ScoreModel::start(folder.path(), {.kind = loss->kind(), .count = heads}, 3,
                                       {.dtype = at::kDouble});
  std::vector<Example> rows = rows_for(*loss);
  if (reversed) std::reverse(rows.begin(), rows.end());
  RewardTask task(RewardModel(model), std::move(loss), rows, {},
                  {.rows = {.batch_size = 7,
                            .micro_batch_tokens = micro_batch_tokens,
                            .shuffle = false,
                            .batch = {.prefix_sharing = sharing}},
                   .subsample = subsample});
  Metrics metrics;
  const Step step = task.next(0);
  for (size_t i = 0; i < step.micro_batches.size(); ++i) task.accumulate(step, i, metrics);
  Gradients out;
  out.loss = metrics.sum("loss");
  for (const auto& p : model->parameters()) out.of.push_back(p.grad);
  return out;
}

TEST(RewardTask, GradientDoesNotDependOnHowAStepIsRun) {
  const std::vector<std::function<std::unique_ptr<RewardLoss>()>> losses{
      [] {
        return std::make_unique<BradleyTerry>(
            BradleyTerryOptions{.label_smoothing = 0.1, .center_rewards_coefficient = 0.1});
      },
      [] { return std::make_unique<RewardPlackettLuce>(); },
      [] { return std::make_unique<RewardRegression>(); },
      [] { return std::make_unique<RewardOutcome>(); },
      [] { return std::make_unique<RewardProcess>(); },
      [] { return std::make_unique<RewardMixture>(); }};
  for (size_t l = 0; l < losses.size(); ++l) {
    const Gradients want = gradients_of(losses[l](), 1 << 20, true, false);
    EXPECT_GT(want.of.back().abs().max().item<double>(), 1e-4) << l;
    for (const auto& [tokens, sharing, reversed] :
         {std::tuple{int64_t{1}, true, false}, std::tuple{int64_t{40}, true, true},
          std::tuple{int64_t{1} << 20, false, false}}) {
      const Gradients got = gradients_of(losses[l](), tokens, sharing, reversed);
      EXPECT_NEAR(got.loss, want.loss, 1e-12) << l;
      for (size_t i = 0; i < want.of.size(); ++i)
        EXPECT_LE(test::relative_distance(got.of[i], want.of[i]), 1e-11) << l << " " << i;
    }
  }
}

TEST(RewardTask, EachHeadLearnsFromItsShareAndIsJudgedOnAll) {
  const test::TemporaryFolder folder;
  test::small_model(at::kDouble)->save(folder.path());
  const auto rows = test::random_pairs(40);
  const auto evaluated = [&](double subsample) {
    const auto model = ScoreModel::start(folder.path(), {.count = 2}, 3, {.dtype = at::kDouble});
    RewardTask task(RewardModel(model), std::make_unique<BradleyTerry>(), rows, rows,
                    {.rows = {.batch_size = 40, .shuffle = false}, .subsample = subsample});
    Metrics metrics;
    task.accumulate(task.next(0), 0, metrics);
    return std::pair{task.evaluate().mean("loss"), model->parameters().back().grad.clone()};
  };
  const auto [all, gradient] = evaluated(1);
  const auto [part, part_gradient] = evaluated(0.5);
  EXPECT_DOUBLE_EQ(all, part);
  for (int64_t k = 0; k < 2; ++k)  // each head's own share of the pairs shows in its gradient
    EXPECT_GT(test::relative_distance(part_gradient[k], gradient[k]), 0.05) << k;
}

TEST(RewardTask, WarnsOnceWhenHeldOutAccuracyTurns) {
  const test::TemporaryFolder folder;
  test::small_model(at::kDouble)->save(folder.path());
  const auto model = ScoreModel::start(folder.path(), {}, 3, {.dtype = at::kDouble});
  auto rows = test::random_pairs(40);
  const auto scores = RewardScorer({model}, {})(test::pointers(rows));
  for (size_t i = 0; i < rows.size(); ++i)  // every pair is in the right order at the start
    if (scores[2 * i].value < scores[2 * i + 1].value)
      std::swap(rows[i].completions[0], rows[i].completions[1]);
  RewardTask task(RewardModel(model), std::make_unique<BradleyTerry>(), rows, rows, {});
  EXPECT_EQ(task.evaluate().mean("accuracy"), 1);
  const TaskState state = task.save();
  parameter(*model, "score.weight").detach().mul_(-1);
  for (const bool resumed : {false, true}) {
    RewardTask other(RewardModel(model), std::make_unique<BradleyTerry>(), rows, rows, {});
    if (resumed) other.load(state);
    testing::internal::CaptureStderr();
    (resumed ? other : task).evaluate();
    (resumed ? other : task).evaluate();
    const std::string log = testing::internal::GetCapturedStderr();
    const std::string sentence = "held-out accuracy has turned: 0 after 1, by more than its ";
    EXPECT_NE(log.find(sentence), std::string::npos) << log;
    EXPECT_EQ(log.find(sentence, log.find(sentence) + 1), std::string::npos) << log;
  }
}

TEST(RewardTask, GradientIsThatOfTheLoss) {
  const test::TemporaryFolder folder;
  test::small_model(at::kDouble)->save(folder.path());
  for (const std::string kind : {"linear", "mlp"}) {
    const auto model = ScoreModel::start(folder.path(), {.head = kind}, 3, {.dtype = at::kDouble});
    RewardTask task(RewardModel(model), std::make_unique<BradleyTerry>(), test::random_pairs(3),
                    test::random_pairs(3), {.rows = {.batch_size = 3, .shuffle = false}});
    Metrics metrics;
    task.accumulate(task.next(0), 0, metrics);
    for (const size_t place : {size_t{0}, size_t{4}, model->parameters().size() - 1}) {
      auto& p = model->parameters()[place];
      const Tensor flat = p.work.detach().view({-1});
      for (const int64_t i : {int64_t{0}, flat.numel() / 2}) {
        const double kept = flat[i].item<double>();
        const auto loss_at = [&](double value) {
          flat[i].fill_(value);
          return task.evaluate().mean("loss");
        };
        const double slope = (loss_at(kept + 1e-6) - loss_at(kept - 1e-6)) / 2e-6;
        flat[i].fill_(kept);
        EXPECT_NEAR(p.grad.view({-1})[i].item<double>(), slope, 1e-7) << kind << " " << p.name;
      }
    }
  }
}

TEST(RewardTask, TellsWhereHeadsDisagree) {
  const test::TemporaryFolder folder;
  test::small_model(at::kDouble)->save(folder.path());
  const auto model = ScoreModel::start(folder.path(), {.count = 2}, 3, {.dtype = at::kDouble});
  Tensor& weight = parameter(*model, "score.weight");
  weight[1].copy_(-0.5 * weight[0]);  // the second head always says the opposite
  const auto rows = test::random_pairs(5);
  RewardTask task(RewardModel(model), std::make_unique<BradleyTerry>(), rows, rows, {});
  const Metrics metrics = task.evaluate();
  EXPECT_DOUBLE_EQ(metrics.mean("ensemble/disagreement"), 0.5);
  // Heads r and −r/2: their deviation is 1.5 |r| / √2, their mean r/4.
  const auto scores = RewardScorer({model}, {})(test::pointers(rows));
  double deviation = 0;
  for (const auto& s : scores) {
    EXPECT_NEAR(s.deviation, std::abs(4 * s.value) * 1.5 / std::sqrt(2), 1e-12);
    deviation += s.deviation / static_cast<double>(scores.size());
  }
  EXPECT_NEAR(metrics.mean("ensemble/std"), deviation, 1e-12);
}

/// Pairs of two kinds of rater with opposite tastes: the first likes the token 5, the second 6.
std::vector<Example> two_tastes(int64_t count) {
  std::vector<Example> rows = test::random_pairs(count, 11);
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool first = i % 4 < 2;
    rows[i].completions = {{first ? 5 : 6, 2}, {first ? 6 : 5, 2}};
    rows[i].rater = static_cast<int64_t>(i % 4);
  }
  return rows;
}

TEST(RewardMixture, HeadsLearnTheTastesOfOppositeRaters) {
  const test::TemporaryFolder folder;
  test::small_model(at::kFloat)->save(folder.path());
  const auto model = ScoreModel::start(folder.path(), {.count = 2}, 3);
  RewardTask task(RewardModel(model), std::make_unique<RewardMixture>(), two_tastes(32), {},
                  {.rows = {.batch_size = 16}});
  TrainerOptions options;
  options.steps = 60;
  options.schedule = {.type = "constant", .learning_rate = 1e-2, .total = 60};
  Trainer trainer(task, options);
  double first = 0, last = 0;
  trainer.on_step = [&](const StepReport& report) {
    if (report.step == 1) first = report.loss;
    last = report.loss;
  };
  trainer.run();
  EXPECT_GT(first, 0.6);
  EXPECT_LT(last, 0.1);  // one reward for both would stay at log 2
  const double share = task.loss().state()["alpha"][0].get<double>();
  EXPECT_NEAR(share, 0.5, 0.1);
}

// What a run saves.

Json reward_config(const test::TemporaryFolder& folder, const std::string& rows) {
  return {{"task", "reward"},
          {"model", {{"path", test::golden("tiny").string()}}},
          {"data", {{"train", folder.file("rows.jsonl", rows)}, {"max_length", 64}}},
          {"train", {{"batch_size", 4}, {"max_steps", 3}, {"logging_steps", 1}}},
          {"output_dir", (folder.path() / "out").string()}};
}

TrainResult run_config(const Json& config) {
  const auto document = Document::of(config, "reward.json");
  const auto registry = Registry::with_builtins();
  return train(parse_run_config(document, registry), document, registry, {.progress = false});
}

TEST(RewardRun, SavesAFolderThatKnowsItsHeadItsMomentsAndItsPadding) {
  const test::TemporaryFolder folder;
  const std::string rows = pair_lines(test::golden("pairs_tiny.jsonl"), 0, 8, nullptr);
  Json config = reward_config(folder, rows);
  config["head"] = {{"count", 2}};
  run_config(config);
  const auto model = ScoreModel::load(folder.path() / "out");
  const ScoreConfig& score = model->score_config();
  EXPECT_EQ(score.kind, ScoreKind::reward);
  EXPECT_EQ(score.count, 2);
  EXPECT_EQ(score.pad_token_id, 0);
  const auto tokenizer = Tokenizer::load(folder.path() / "out");
  const Dataset data =
      load_dataset(folder.path() / "rows.jsonl", tokenizer.get(), {.max_length = 64});
  const auto pointers = test::pointers(data.examples);
  double sum = 0, squares = 0;
  const auto scores = RewardScorer({model}, {})(pointers);
  for (const auto& s : scores) sum += s.value;
  const double n = static_cast<double>(scores.size()), mean = sum / n;
  for (const auto& s : scores) squares += (s.value - mean) * (s.value - mean);
  ASSERT_TRUE(score.scores);
  EXPECT_NEAR(score.scores->mean, mean, 1e-6);
  EXPECT_NEAR(score.scores->deviation, std::sqrt(squares / (n - 1)), 1e-6);
  const auto normalised = RewardScorer({model}, {.normalise = true})(pointers);
  EXPECT_NEAR(normalised[3].value, (scores[3].value - mean) / score.scores->deviation, 1e-5);
}

TEST(RewardRun, OfGradedAnswersScoresOnTheirScale) {
  const test::TemporaryFolder folder;
  std::string rows;
  for (int i = 0; i < 12; ++i)
    rows += Json{{"prompt", "Tell me"},
                 {"completion", i % 2 == 0 ? " good" : " bad"},
                 {"score", i % 2 == 0 ? 110 : 90}}
                .dump() +
            "\n";
  Json config = reward_config(folder, rows);
  config["loss"] = {{"type", "regression"}};
  config["train"]["max_steps"] = 60;
  config["train"]["learning_rate"] = 1e-2;
  run_config(config);
  const auto tokenizer = Tokenizer::load(folder.path() / "out");
  const Dataset data = load_dataset(folder.path() / "rows.jsonl", tokenizer.get(), {});
  const auto scores =
      RewardScorer({ScoreModel::load(folder.path() / "out")}, {})(test::pointers(data.examples));
  EXPECT_NEAR(scores[0].value, 110, 1);
  EXPECT_NEAR(scores[1].value, 90, 1);
}

TEST(RewardRun, ResumesToTheSameWeights) {
  const test::TemporaryFolder folder;
  const std::string rows = pair_lines(test::golden("pairs_tiny.jsonl"), 0, 24, nullptr);
  const auto weights = [&](const std::string& out) {
    return read_file(folder.path() / out / "model.safetensors");
  };
  Json config = reward_config(folder, rows);
  config["train"]["max_steps"] = 6;
  config["train"]["save_steps"] = 3;
  run_config(config);
  config["output_dir"] = (folder.path() / "again").string();
  config["train"]["resume"] = (folder.path() / "out/checkpoint-3").string();
  run_config(config);
  EXPECT_EQ(weights("out"), weights("again"));
  EXPECT_NE(weights("out"), weights("out/checkpoint-3"));
}

TEST(RewardRun, RefusesWhatCannotBe) {
  const test::TemporaryFolder folder;
  const std::string rows = pair_lines(test::golden("pairs_tiny.jsonl"), 0, 8, nullptr);
  const Json good = reward_config(folder, rows);
  const auto usage = [&](const std::string& pointer, const Json& value) {
    Json config = good;
    config[Json::json_pointer(pointer)] = value;
    return test::message_of<UsageError>([&] { run_config(config); });
  };
  EXPECT_EQ(usage("/reference", Json{{"path", "x"}}),
            "reward.json: a reward model has no reference; leave \"reference\" out");
  EXPECT_EQ(usage("/head", Json{{"chunk_mb", 64}}),
            "reward.json: a reward model makes no logits; leave head.chunk_mb out");
  EXPECT_EQ(usage("/loss", Json{{"type", "mixture"}}),
            "reward.json: this loss needs head.count of 2 or more, got 1");
  EXPECT_EQ(usage("/head", Json{{"subsample", 0.5}}),
            "reward.json: a share of the rows for each head makes sense with several heads; set "
            "head.count");
  Json mixture = good;
  mixture["loss"] = {{"type", "mixture"}};
  mixture["head"] = {{"count", 2}, {"subsample", 0.5}};
  EXPECT_EQ(test::message_of<UsageError>([&] { run_config(mixture); }),
            "reward.json: this loss finds out by itself which head learns from which rows; leave "
            "head.subsample out");
  Json outcome = good;
  outcome["loss"] = {{"type", "outcome"}};
  outcome["head"] = {{"count", 2}};
  EXPECT_EQ(test::message_of<UsageError>([&] { run_config(outcome); }),
            "reward.json: several heads are for reward models; the loss trains a model of kind "
            "outcome, which has one");
  Json policy = good;
  policy["task"] = "sft";
  policy["head"] = {{"count", 2}};
  EXPECT_EQ(test::message_of<UsageError>([&] { run_config(policy); }),
            "reward.json: kind, count and subsample describe a head of scores; they need task "
            "\"reward\"");
  Json process = good;
  process["loss"] = {{"type", "process"}};
  const std::string file = good["data"]["train"].get<std::string>();
  EXPECT_EQ(test::message_of<DataError>([&] { run_config(process); }),
            file +
                ": task \"reward\" with this loss needs stepwise rows, and these are "
                "preference rows (data.type says how rows are read)");
}

}  // namespace
}  // namespace luce
