// Sampling from a model: what is asked for, and what comes back. engine.h does it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "luce/model/causal_lm.h"

namespace luce {

class Tokenizer;

struct SampleOptions {
  int64_t max_new_tokens = 128;
  double temperature = 1;         // divides the logits; 0 takes the likeliest token
  int64_t top_k = 0;              // sample among the k likeliest; 0 is all
  double top_p = 1;               // sample among the likeliest that reach this mass
  double min_p = 0;               // sample among those of at least this share of the likeliest's
                                  // probability
  double repetition_penalty = 1;  // logits of tokens that stand in the prompt or the completion are
                                  // divided by it where positive, else multiplied; 1: they stay
  std::vector<int64_t> stop_tokens = {};  // beside the config's end-of-sequence ids
  std::vector<std::string> stop = {};     // texts that end a completion; they need the tokenizer
  const Tokenizer* tokenizer = nullptr;
  int64_t num_samples = 1;    // per prompt
  uint64_t seed = 42;         //
  uint64_t step = 0;          // of a training run: part of the seed
  uint64_t first_sample = 0;  // number of the first prompt's first sample: part of the seed
  int64_t max_batch = 256;    // sequences decoded at once
};

/// A prompt and how often it is continued.
struct SampleRequest {
  std::vector<int64_t> prompt;
  int64_t num_samples = 1;
  uint64_t first_sample = 0;  // its j-th sample is drawn as number first_sample + j
  std::optional<int64_t> max_new_tokens = {};  // else that of the options
};

/// One completion. It ends with the token that stopped it, where `stopped`. Log-probs are in nats.
struct Sample {
  std::vector<int64_t> ids;
  std::vector<double> logps;     // log π(token | before), temperature 1, the whole vocabulary
  std::vector<double> tempered;  // the same at the temperature that was sampled with: what a
                                 // trainer at that temperature gives for the same weights.
                                 // Temperature 0: as logps
  std::vector<double> drawn;  // of the distribution that the token was drawn from: tempered, less
                              // what top_k, top_p, min_p and the penalty changed, or a mixture
  bool stopped = false;       // false: the length or the context ran out
  int64_t version = -1;       // of the weights, where the sampler counts them; -1: it does not
};

/// Samples completions: entry i·num_samples + j is the j-th of prompt i. What is drawn depends on
/// (seed, step, sample number, position) alone, not on the batch. Every prompt needs a token; a
/// completion stops at the first of the config's end-of-sequence ids or the options' stops, which
/// is kept, and at the context's end. Throws UsageError on options out of range, DataError on a
/// prompt that fills the context.
std::vector<Sample> sample(const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                           const SampleOptions& options);

}  // namespace luce
