// Training a model of scores: reward, outcome and process models.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "luce/data/calibration.h"
#include "luce/loss/reward.h"
#include "luce/train/row_steps.h"

namespace luce {

struct RewardOptions {
  RowOptions rows;
  double subsample = 1;  // share of the groups that each of several heads learns from
};

/// What a model of scores predicted and what was so: the chosen answer of a pair wins, an answer or
/// a step is right.
struct Predictions {
  std::vector<double> probability, outcome;
};

/// Rows, a model of scores and a reward loss.
class RewardTask : public Task {
 public:
  /// Throws ArgumentError where model and loss do not fit, DataError where a row does not.
  RewardTask(RewardModel model, std::unique_ptr<RewardLoss> loss, std::vector<Example> train,
             std::vector<Example> eval, RewardOptions options);

  Trainable& trained() override { return model_; }
  RewardModel& model() { return model_; }
  const RewardLoss& loss() const { return *loss_; }
  int64_t steps_per_epoch() const override { return rows_.steps_per_epoch(); }
  Step next(int64_t step) override { return rows_.next(step); }
  void accumulate(const Step& step, size_t index, Metrics& metrics) override;
  TaskState save() override;
  void load(const TaskState& state) override;
  bool can_evaluate() const override { return !rows_.eval().empty(); }
  Metrics evaluate() override;
  /// Measures the moments of the scores, on the evaluation rows where there are any, and puts them
  /// into the model's config. Reports the calibration.
  Json finish() override;

  /// How far the probabilities of the last evaluation can be believed; empty before there was one.
  const std::optional<Calibration>& last_calibration() const { return calibration_; }

 private:
  Batch batch_of(const RowList& rows) const;
  ScoreInputs inputs_of(const Batch& batch, const ScorePlaces& places, const Tensor& scores) const;
  /// What each head learns of each group, [Q, O]; undefined where all learn from all.
  Tensor shares(const Batch& batch) const;
  /// The inputs of rows without a gradient, in one piece.
  ScoreInputs scored(const RowList& rows) const;
  /// Adds the loss to the metrics; its gradient to the scores, [R, O], where `with_gradient`.
  Tensor loss_of(ScoreInputs inputs, const Totals& totals, const std::vector<int64_t>& rows,
                 bool with_gradient, Metrics& metrics) const;
  /// The first phase of a loss that couples the step: ∂loss/∂scores of every micro-batch.
  std::vector<Tensor> step_gradients(const Step& step, Metrics& metrics);
  void watch_accuracy(const Metrics& metrics);

  RewardModel model_;
  std::unique_ptr<RewardLoss> loss_;
  RowSteps rows_;
  RewardOptions options_;
  std::vector<Tensor> seeds_;        // of step_gradients, for the second phase
  std::vector<Tensor> step_scores_;  // of the step's micro-batches so far, for its extremes
  std::optional<Calibration> calibration_;
  double best_accuracy_ = 0;
  bool warned_ = false;
};

}  // namespace luce
