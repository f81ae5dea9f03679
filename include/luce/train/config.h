// The config of a training run: what stands in the JSON file that `luce train` reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "luce/base/schema.h"
#include "luce/loss/registry.h"
#include "luce/train/online_config.h"

namespace luce {

struct ModelSection {
  std::string path, dtype = "float32", device = "auto";
  bool batch_invariant = false;
};

struct ReferenceSection {
  std::optional<std::string> path;
  bool precompute = false;
  int64_t sync_steps = 0;
  double mixup_alpha = 0.6;
};

struct DataSection {
  std::string train, type = "auto";
  std::optional<std::string> eval, cache_dir;
  double eval_fraction = 0;
  Json column_map = Json::object();
  int64_t max_length = 1024;
  bool shuffle = true, strict = false, completion_only_loss = true;
  std::string ratings = "ignore", ties = "drop";
  std::optional<double> score_mean, score_std;
  std::optional<std::string> overlong;
};

struct TrainSection {
  int64_t max_steps = -1;
  std::optional<double> num_train_epochs;
  int64_t batch_size = 8, micro_batch_tokens = 16384;
  bool prefix_sharing = true;
  std::optional<double> learning_rate;
  std::string lr_scheduler_type = "linear";
  double min_lr = 0;
  double warmup_steps = 0, weight_decay = 0, adam_beta1 = 0.9, adam_beta2 = 0.999,
         adam_epsilon = 1e-8;
  double max_grad_norm = 1;
  int64_t seed = 42, logging_steps = 10, eval_steps = 0, save_steps = 0, save_total_limit = 2;
  bool eval_on_start = false, load_best_model_at_end = false;
  std::string metric_for_best_model = "eval_loss";
  std::optional<bool> greater_is_better;
  std::optional<std::string> resume;
};

struct HeadSection {
  Json chunk_mb = "auto";
  std::string kind = "linear";
  int64_t count = 1;
  double subsample = 1;
};

struct DisplacementSection {
  int64_t probe_rows = 0, top_tokens = 5;
  bool ches = false;
  double ches_keep = 1;
};

struct RunConfig {
  std::string task;
  ModelSection model;
  ReferenceSection reference;
  DataSection data;
  Json loss, algorithm, reward;
  RolloutSection rollout;
  ValueSection value;
  TrainSection train;
  HeadSection head;
  DisplacementSection displacement;
  std::vector<std::string> plugins;
  std::string output_dir;

  /// The learning rate, or the task's default: 2e-5 for sft, 1e-6 for preference and rl, 1e-4
  /// for reward.
  double learning_rate() const;
  /// Passes over the rows, or the task's default: 1 for reward, 3 for the others.
  double num_train_epochs() const;
  /// What becomes of rows beyond max_length: cut, or by default for reward drop.
  std::string overlong() const;
};

void describe(Schema& s, ModelSection& o);
void describe(Schema& s, ReferenceSection& o);
void describe(Schema& s, DataSection& o);
void describe(Schema& s, TrainSection& o);
void describe(Schema& s, HeadSection& o);
void describe(Schema& s, DisplacementSection& o);
void describe(Schema& s, RunConfig& o);

/// Adds the losses of the plug-ins that a config names. Goes before parse_run_config. Throws
/// UsageError and MissingFileError.
void load_plugins(Registry& registry, const Document& document);

/// Reads and checks a config. Throws UsageError with file, line and what to do.
RunConfig parse_run_config(const Document& document, const Registry& registry);

/// The config with every default written out, as saved to luce_config.json.
Json resolved(const RunConfig& config, const Document& document, const Registry& registry);

}  // namespace luce
