// The sections of a config that online training adds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "luce/base/schema.h"

namespace luce {

struct RolloutSection {
  int64_t num_generations = 8, max_completion_length = 512;
  std::optional<int64_t> max_prompt_length;
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1, min_p = 0, repetition_penalty = 1;
  std::vector<std::string> stop;
  int64_t max_batch = 256;
  std::optional<std::string> mixture_path;
  double mixture_weight = 0.5;
  int64_t dynamic_sampling = 0;
  bool one_step_off = false;
  std::string importance_sampling_correction = "off";
  double importance_sampling_min = 0, importance_sampling_max = 3;
  int64_t max_staleness = 1;
  double max_failed_rewards = 0.05;
  int64_t log_completions = 2;
  int64_t eval_generations = 1;
  double eval_temperature = 0;
  Json server;
};

struct ValueSection {
  std::optional<std::string> path;
  bool share_trunk = false;
  std::optional<double> learning_rate;
};

void describe(Schema& s, RolloutSection& o);
void describe(Schema& s, ValueSection& o);

}  // namespace luce
