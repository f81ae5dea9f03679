// A checkpoint is a model folder with the optimizer beside it: checkpoint-<step>/ holds
// config.json, model.safetensors, the tokenizer, optimizer.safetensors (moments, and master weights
// where the model is not f32), NAME.safetensors of each companion (weights and moments),
// task.safetensors where the task has tensors of its own, and trainer_state.json. It is written to
// a temporary sibling, synced and renamed, so that a folder of that name is always whole.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "luce/model/roles.h"
#include "luce/train/optimizer.h"
#include "luce/train/task.h"

namespace luce {

struct TrainerState {
  int64_t global_step = 0;
  double num_tokens = 0;
  std::optional<double> best_metric;
  std::string best_checkpoint;  // folder name
};

/// Writes output_dir/checkpoint-<step>. Tokenizer files are copied from `model_source`.
std::filesystem::path save_checkpoint(const std::filesystem::path& output_dir, Task& task,
                                      AdamW& optimizer, std::vector<AdamW>& companion_optimizers,
                                      const TrainerState& state,
                                      const std::filesystem::path& model_source);

/// Reads weights, moments and state back. Throws DataError where the checkpoint does not fit.
TrainerState load_checkpoint(const std::filesystem::path& folder, Task& task, AdamW& optimizer,
                             std::vector<AdamW>& companion_optimizers);

/// The newest checkpoint-<step> of a folder that has a trainer_state.json.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& output_dir);

/// Removes all but the newest `keep` checkpoints; `spared` is never removed.
void remove_old_checkpoints(const std::filesystem::path& output_dir, int64_t keep,
                            const std::string& spared);

}  // namespace luce
