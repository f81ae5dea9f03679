// What is logged of scores, under TRL's names where TRL has them; see docs/metrics.md.
#pragma once

#include "luce/base/metrics.h"
#include "luce/train/reward_task.h"

namespace luce {

/// One score an answer, [C] f64: the mean over heads, or the log-odds at the last place.
Tensor answer_scores(const ScoreInputs& inputs, ScoreKind kind);

/// The same as `luce score` tells them: on the scale of the data where the model learnt that, as
/// probabilities where it is an outcome or a process model.
Tensor told_scores(const ScoreInputs& inputs, const ScoreConfig& score);

/// Accuracy, margin, mean reward and, of several heads, their disagreement.
void record_scores(const ScoreInputs& inputs, ScoreKind kind, Metrics& metrics);
/// The smallest and the largest score of a step.
void record_extremes(const Tensor& scores, Metrics& metrics);

Predictions predictions_of(const ScoreInputs& inputs, ScoreKind kind);

}  // namespace luce
