// Sampling from a model with a key-value cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "luce/model/causal_lm.h"

namespace luce {

struct SampleOptions {
  int64_t max_new_tokens = 128;
  double temperature = 1;     // divides the logits; 0 takes the likeliest token
  int64_t top_k = 0;          // sample among the k likeliest; 0 is all
  double top_p = 1;           // sample among the likeliest that reach this mass
  int64_t num_samples = 1;    // per prompt
  uint64_t seed = 42;         //
  uint64_t first_sample = 0;  // number of the first prompt's first sample: part of the seed
  int64_t max_batch = 256;    // sequences decoded at once
};

/// One completion. It ends with the end-of-sequence token where `stopped`.
struct Sample {
  std::vector<int64_t> ids;
  std::vector<double>
      logps;             // log π(token | before) at temperature 1, before top-k and top-p; nats
  bool stopped = false;  // false: the length or the context ran out
};

/// Samples completions: entry i·num_samples + j is the j-th of prompt i. What is drawn depends on
/// (seed, sample number, position) alone, not on the batch. Every prompt needs a token; a
/// completion stops at the first of the config's end-of-sequence ids, which is kept, and at the
/// context's end. Throws UsageError on options out of range, DataError on a prompt that fills the
/// context.
std::vector<Sample> sample(const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                           const SampleOptions& options);

}  // namespace luce
