// The parts that runs of different tasks are set up from.
#pragma once

#include "luce/train/run.h"

namespace luce {

/// Budgets of logits, see HeadOptions.
struct ChunkBytes {
  int64_t usual = 0, most = 0;
};
ChunkBytes chunk_bytes(const Json& chunk_mb, const c10::Device& device);

/// The reference that a config names, or a frozen copy of the policy. Throws DataError where it
/// does not fit the policy.
std::shared_ptr<CausalLM> load_reference(const RunConfig& config, const CausalLM& policy);

/// Memory of a model's weights.
int64_t bytes_of(const Decoder& model);

/// Fills in the task of an online run: model, prompts, sampler, rewards, algorithm.
void make_online_task(RunSetup& run, const Document& document, const Registry& registry,
                      const ModelOptions& model_options, const RowOptions& rows);

}  // namespace luce
