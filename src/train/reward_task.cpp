#include "luce/train/reward_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/base/random.h"
#include "luce/data/training_report.h"
#include "train/reward_metrics.h"

namespace luce {
namespace {

constexpr size_t kMomentRows = 1024;  // of training rows, where there are no evaluation rows

RowOptions with_own_rows(RowOptions options) {
  options.batch.own_rows = true;
  return options;
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

/// Appends offsets that begin at 0, without that 0, behind those that are there.
void append_offsets(std::vector<int64_t>& to, const std::vector<int64_t>& more) {
  const int64_t base = to.empty() ? 0 : to.back();
  for (size_t i = to.empty() ? 0 : 1; i < more.size(); ++i) to.push_back(base + more[i]);
}

ScoreInputs joined(const std::vector<ScoreInputs>& parts) {
  ScoreInputs out;
  std::vector<Tensor> scores;
  for (const auto& part : parts) {
    scores.push_back(part.scores);
    append_offsets(out.offset, part.offset);
    append_offsets(out.group, part.group);
    append(out.role, part.role);
    append(out.columns.margin, part.columns.margin);
    append(out.columns.preference, part.columns.preference);
    append(out.columns.rater, part.columns.rater);
    append(out.columns.score, part.columns.score);
    append(out.columns.steps, part.columns.steps);
  }
  out.scores = at::cat(scores);
  return out;
}

}  // namespace

RewardTask::RewardTask(RewardModel model, std::unique_ptr<RewardLoss> loss,
                       std::vector<Example> train, std::vector<Example> eval, RewardOptions options)
    : model_(std::move(model)),
      loss_(std::move(loss)),
      rows_(std::move(train), std::move(eval), model_.model().config(),
            with_own_rows(options.rows)),
      options_(std::move(options)) {
  const ScoreConfig& head = model_.model().score_config();
  if (head.kind != loss_->kind())
    throw ArgumentError(cat("[RewardTask] this loss trains a head of kind ", name_of(loss_->kind()),
                            "; the model's is of kind ", name_of(head.kind)));
  if (head.count < loss_->least_heads())
    throw ArgumentError(cat("[RewardTask] this loss needs ", loss_->least_heads(),
                            " heads or more; the model has ", head.count));
  if (options_.subsample < 1 && !loss_->subsamples())
    throw ArgumentError("[RewardTask] this loss does not take a share of the rows for each head");
  loss_->check_rows(rows_.train());
}

Batch RewardTask::batch_of(const RowList& rows) const {
  BatchOptions options = options_.rows.batch;
  options.own_rows = true;
  return make_batch(rows, options).to(model_.model().options().device);
}

ScoreInputs RewardTask::inputs_of(const Batch& batch, const ScorePlaces& places,
                                  const Tensor& scores) const {
  return {.scores = scores,
          .offset = places.offset,
          .role = batch.role,
          .group = batch.group,
          .columns = batch.columns};
}

Tensor RewardTask::shares(const Batch& batch) const {
  const int64_t heads = model_.model().score_config().count;
  if (options_.subsample == 1 || heads == 1) return {};
  const Random random(options_.rows.seed, Purpose::heads);
  std::vector<double> share;
  for (const int64_t row : batch.row)
    for (int64_t k = 0; k < heads; ++k) {
      const double u = random.uniform(static_cast<uint64_t>(k), static_cast<uint64_t>(row), 0);
      share.push_back(u < options_.subsample ? 1 / options_.subsample : 0);
    }
  return at::tensor(share, at::kDouble).view({-1, heads}).to(batch.tokens.device());
}

Tensor RewardTask::loss_of(ScoreInputs inputs, const Totals& totals,
                           const std::vector<int64_t>& rows, bool with_gradient,
                           Metrics& metrics) const {
  Tensor d_scores;
  double value = 0;
  {
    const at::AutoGradMode grad(with_gradient);
    inputs.scores = inputs.scores.detach().requires_grad_(with_gradient);
    const Tensor loss = reduce((*loss_)(inputs, metrics), totals);
    value = loss.item<double>();
    if (with_gradient) d_scores = torch::autograd::grad({loss}, {inputs.scores}).front();
  }
  if (!std::isfinite(value) || (d_scores.defined() && !at::isfinite(d_scores).all().item<bool>()))
    throw SanityError(cat("the loss is not finite on ", named_rows(rows),
                          " of the data; the model was not updated. A lower learning rate or a "
                          "look at these rows may help"));
  metrics.add("loss", value, 0);
  inputs.scores = inputs.scores.detach();
  record_scores(inputs, loss_->kind(), metrics);
  return d_scores;
}

ScoreInputs RewardTask::scored(const RowList& rows) const {
  const at::NoGradGuard no_grad;
  std::vector<ScoreInputs> parts;
  for (const auto& some : rows_.micro_batches(rows)) {
    const Batch batch = batch_of(some);
    const ScorePlaces places = score_places(batch, loss_->kind());
    const auto pass = model_.forward(batch, places.rows);
    parts.push_back(inputs_of(batch, places, model_.model().scores(pass.hidden)));
  }
  return joined(parts);
}

std::vector<Tensor> RewardTask::step_gradients(const Step& step, Metrics& metrics) {
  RowList rows;
  for (const auto& some : step.micro_batches) append(rows, some);
  ScoreInputs all = scored(rows);
  loss_->observe(all);
  const Tensor d_scores = loss_of(all, step.totals, step.rows, true, metrics);
  std::vector<Tensor> out;
  int64_t at = 0;
  size_t answer = 0;
  for (const auto& some : step.micro_batches) {
    const int64_t begin = at;
    for (const Example* row : some) answer += row->completions.size();
    at = all.offset[answer];
    out.push_back(d_scores.slice(0, begin, at));
  }
  return out;
}

void RewardTask::accumulate(const Step& step, size_t index, Metrics& metrics) {
  const bool two_phases = loss_->couples() == Coupling::step;
  if (index == 0) {
    step_scores_.clear();
    if (two_phases) seeds_ = step_gradients(step, metrics);
  }
  const Batch batch = batch_of(step.micro_batches[index]);
  const ScorePlaces places = score_places(batch, loss_->kind());
  auto pass = model_.forward(batch, places.rows);
  const Tensor scores = model_.model().scores(pass.hidden);
  ScoreInputs inputs = inputs_of(batch, places, scores.detach());
  inputs.share = shares(batch);
  const Tensor d_scores =
      two_phases ? seeds_[index] : loss_of(inputs, step.totals, batch.row, true, metrics);
  model_.backward(pass, scores, d_scores.to(scores.scalar_type()));
  metrics.add("num_tokens", static_cast<double>(batch.num_tokens), 0);
  step_scores_.push_back(answer_scores(inputs, loss_->kind()));
  if (index + 1 == step.micro_batches.size()) record_extremes(at::cat(step_scores_), metrics);
}

TaskState RewardTask::save() {
  return {.values = {{"loss", loss_->state()}, {"best_accuracy", best_accuracy_}}, .tensors = {}};
}

void RewardTask::load(const TaskState& state) {
  const bool known = state.values.is_object();
  loss_->load_state(known ? state.values.value("loss", Json(nullptr)) : Json(nullptr));
  if (known) best_accuracy_ = state.values.value("best_accuracy", 0.0);
}

Metrics RewardTask::evaluate() {
  Metrics metrics;
  const auto all = pointers(rows_.eval());
  const ScoreInputs inputs = scored(all);
  std::vector<int64_t> lines;
  for (const Example* row : all) lines.push_back(row->row);
  loss_of(inputs, totals_of(all), lines, false, metrics);
  record_extremes(answer_scores(inputs, loss_->kind()), metrics);
  metrics.add("loss", 0, 1);
  const Predictions predicted = predictions_of(inputs, loss_->kind());
  if (!predicted.outcome.empty()) {
    // Which answer of a pair stands first tells nothing: its predictions become confidences.
    calibration_ = loss_->kind() == ScoreKind::reward
                       ? preference_calibration(predicted.probability)
                       : calibration(predicted.probability, predicted.outcome);
    metrics.set("ece", calibration_->ece_equal_mass);
    metrics.set("brier", calibration_->brier);
  }
  watch_accuracy(metrics);
  return metrics;
}

void RewardTask::watch_accuracy(const Metrics& metrics) {
  if (!metrics.has("accuracy")) return;
  const double accuracy = metrics.mean("accuracy"), n = metrics.count("accuracy");
  const double error = std::sqrt(std::max(accuracy * (1 - accuracy), 0.25 / n) / n);
  if (accuracy + error < best_accuracy_ && !warned_) {
    warned_ = true;
    log::warn("held-out accuracy has turned: ", accuracy, " after ", best_accuracy_,
              ", by more than its standard error of ", error,
              ". Reward models overfit soon after one epoch; train.load_best_model_at_end with "
              "metric_for_best_model eval_accuracy keeps the best one");
  }
  best_accuracy_ = std::max(best_accuracy_, accuracy);
}

Json RewardTask::finish() {
  RowList rows = pointers(rows_.eval().empty() ? rows_.train() : rows_.eval());
  if (rows_.eval().empty() && rows.size() > kMomentRows) rows.resize(kMomentRows);
  const Tensor scores = told_scores(scored(rows), model_.model().score_config());
  const double mean = scores.mean().item<double>();
  const double deviation = scores.numel() > 1 ? scores.std().item<double>() : 0;
  if (deviation > 0) model_.model().score_config().scores = Moments{mean, deviation};
  Json report = Json::array();
  if (calibration_) {
    report.push_back({{"type", "heading"}, {"text", "Calibration"}});
    report.push_back(report_section(reliability_chart(*calibration_, "Held-out reliability")));
    report.push_back(report_section(reliability_table(*calibration_, "Held-out reliability")));
  }
  return report;
}

}  // namespace luce
