// A task turns rows into gradients; the trainer knows neither losses nor rows.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "luce/base/metrics.h"
#include "luce/batch.h"
#include "luce/loss/loss.h"
#include "luce/model/roles.h"

namespace luce {

/// The work of one optimizer step.
struct Step {
  std::vector<std::vector<const Example*>> micro_batches;
  Totals totals;              // of all of them: what the loss's terms are divided by
  std::vector<int64_t> rows;  // lines of the data file, to name them where something goes wrong
  bool is_first = false;      // step 0: nothing has been updated yet
  bool detailed = false;  // a step whose metrics are about to be written: costly ones are wanted
};

/// Parameters that are trained beside the model, with an optimizer and a norm of their own.
struct Companion {
  std::string name;  // of its file in a checkpoint and of its metrics: "value"
  std::vector<Parameter>* parameters = nullptr;
  double learning_rate = 0;  // 0: the model's; else the schedule's shape with this peak
};

/// What a task must keep in a checkpoint beside weights and optimizer.
struct TaskState {
  Json values;                                          // null: nothing
  std::vector<std::pair<std::string, Tensor>> tensors;  // f32 or f64
};

class Task {
 public:
  virtual ~Task() = default;
  /// What is trained.
  virtual Trainable& trained() = 0;
  /// What is trained beside it; the same parameters at every call.
  virtual std::vector<Companion> companions() { return {}; }
  /// Optimizer steps in one pass over the rows.
  virtual int64_t steps_per_epoch() const = 0;
  /// The micro-batches of step `step` (from 0): steps are asked for in order. A pure function of
  /// the argument, the weights and what save() keeps.
  virtual Step next(int64_t step) = 0;
  /// Forward, loss, and gradients into the buffers, for micro-batch `index` of the step.
  virtual void accumulate(const Step& step, size_t index, Metrics& metrics) = 0;
  /// Called after the update; `done` counts the steps so far, `metrics` are the step's.
  virtual void after_step(int64_t /*done*/, Metrics& /*metrics*/) {}
  virtual TaskState save() { return {}; }
  /// Takes back what save() gave. Throws DataError where it does not fit.
  virtual void load(const TaskState& /*state*/) {}
  /// Whether there are rows to evaluate on.
  virtual bool can_evaluate() const = 0;
  /// Metrics over the evaluation rows, under their plain names.
  virtual Metrics evaluate() = 0;
  /// Called once, after the last step and before the model is saved. What the run's report shows
  /// beside its metrics: sections of report.json (docs/metrics.md).
  virtual Json finish() { return Json::array(); }
};

}  // namespace luce
