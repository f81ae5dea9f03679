// A whole training run from a config: what `luce train` does, as a function.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>

#include "luce/data/dataset.h"
#include "luce/data/tokenizer.h"
#include "luce/train/config.h"
#include "luce/train/offline_task.h"
#include "luce/train/reward_task.h"
#include "luce/train/trainer.h"

namespace luce {

/// Memory that a model takes beside the one that is trained.
struct RoleMemory {
  std::string role;   // "reference", "value", "reward"
  int64_t bytes = 0;  // its weights, and gradients and moments where it is trained
};

/// Everything a run needs, made from its config: model, rows, loss, task.
struct RunSetup {
  RunConfig config;  // with what was measured on the rows: data.score_mean, data.score_std
  std::shared_ptr<Decoder> model;
  std::shared_ptr<const Tokenizer> tokenizer;  // null where rows are token ids and there is none
  Dataset train;                               // the rows, of which the task has its own copy
  std::optional<Dataset> eval;
  std::unique_ptr<Task> task;
  TrainerOptions trainer;
  std::vector<RoleMemory> roles;  // models held beside the one that is trained
  int64_t prompts = 0;            // of an online run, which has no rows
  int64_t chunk_bytes = 0;        // most logits held at once

  /// The task of a policy. Throws ArgumentError where it is another one.
  OfflineTask& offline() const;
};

/// Loads and checks everything; trains nothing. Throws the errors of its parts.
RunSetup set_up(const RunConfig& config, const Document& document, const Registry& registry);

struct RunOptions {
  bool progress = true;                           // a bar on stderr
  const std::atomic<int>* stop_signal = nullptr;  // non-zero: finish the step, save, end
  std::function<void(const StepReport&)> on_step;
};

/// Trains, logs to output_dir/metrics.jsonl and output_dir/runs, and writes the final model with
/// its card, luce_config.json and report.html.
TrainResult train(const RunConfig& config, const Document& document, const Registry& registry,
                  const RunOptions& options = {});

}  // namespace luce
