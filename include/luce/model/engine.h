// Sampling in process, with the weights of a model that may be in training.
#pragma once

#include <memory>
#include <vector>

#include "luce/model/sampler.h"

namespace luce {

/// A second model that answers with the first: logits (1 − weight) · z_first + weight · z_second,
/// before temperature (Nash-MD, arXiv:2312.00886).
struct Mixture {
  std::shared_ptr<const CausalLM> second;
  double weight = 0;  // in (0, 1]
};

/// Counts of one call, for the log and for benchmarks.
struct EngineUse {
  int64_t prompt_tokens = 0, new_tokens = 0, decode_steps = 0;
  int64_t cache_bytes = 0;  // most that keys and values took
};

/// Continuous batching over a paged key-value cache: a prompt is read once and its pages are shared
/// by its samples; a sequence that ends makes room for the next. The weights are the model's own,
/// by pointer: nothing is copied and nothing needs to be brought up to date. Batching changes
/// results by rounding only, and in batch-invariant models not by a bit.
class Engine {
 public:
  /// Throws DataError where the second model has another vocabulary.
  explicit Engine(std::shared_ptr<const CausalLM> model, Mixture mixture = {});

  /// The samples of every request, in the order of the requests. Throws as sample() does.
  std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                              const SampleOptions& options,
                                              EngineUse* use = nullptr) const;

 private:
  std::shared_ptr<const CausalLM> model_;
  Mixture mixture_;
};

}  // namespace luce
