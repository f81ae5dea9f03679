// The loop: steps of a task, an optimizer, logs, evaluations, checkpoints. It knows no loss.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "luce/train/checkpoint.h"
#include "luce/train/optimizer.h"
#include "luce/train/task.h"

namespace luce {

struct TrainerOptions {
  int64_t steps = 0;
  Schedule schedule;
  AdamWOptions adamw;
  double max_grad_norm = 1;  // 0: no clipping
  int64_t logging_steps = 10;
  int64_t eval_steps = 0;  // 0: after each epoch; the last step is always evaluated
  bool eval_on_start = false;
  int64_t save_steps = 0;  // 0: no checkpoints on the way
  int64_t save_total_limit = 2;
  bool keep_best = false;
  std::string best_metric = "eval_loss";
  bool greater_is_better = false;
  std::filesystem::path output_dir;    // for checkpoints; may be empty where none are asked for
  std::filesystem::path model_source;  // whose tokenizer a checkpoint gets
};

/// What a callback sees after a step.
struct StepReport {
  int64_t step = 0;  // steps done
  double epoch = 0, loss = 0, grad_norm = 0, learning_rate = 0;
  double num_tokens = 0;   // since the run began
  double rows = 0;         // of this step
  double seconds = 0;      // that this step took
  const Metrics& metrics;  // of this step
};

/// How a run ended.
struct TrainResult {
  int64_t steps = 0;
  bool interrupted = false;  // should_stop said so; a checkpoint has been written
  std::filesystem::path checkpoint;
};

class Trainer {
 public:
  Trainer(Task& task, TrainerOptions options);

  /// Called after every step.
  std::function<void(const StepReport&)> on_step;
  /// Called with the means since the last call ("loss", …) or of an evaluation ("eval_loss", …).
  std::function<void(int64_t step, double epoch, const std::map<std::string, double>&)> on_log;
  /// Called beside it with the metrics that the means were made of: for their distributions.
  std::function<void(int64_t step, const Metrics&)> on_samples;
  /// Asked after every step; true saves and ends the run.
  std::function<bool()> should_stop;

  /// Continues from a checkpoint. Throws DataError where it does not fit.
  void resume(const std::filesystem::path& checkpoint);
  /// Runs the remaining steps. Throws SanityError before an update that is not finite.
  TrainResult run();

  AdamW& optimizer() { return optimizer_; }
  int64_t first_step() const { return state_.global_step; }

 private:
  void one_step(int64_t step, Metrics& window);
  /// The norm of the gradients, which must be finite.
  double checked_norm(const std::vector<Parameter>& parameters, const Step& work,
                      int64_t step) const;
  void evaluate(int64_t step);
  void save(int64_t step);
  double epoch_at(int64_t step) const;

  Task& task_;
  TrainerOptions options_;
  AdamW optimizer_;
  std::vector<Companion> companions_;
  std::vector<AdamW> companion_optimizers_;
  TrainerState state_;
};

}  // namespace luce
