// What sampling refuses, in words.
#pragma once

#include <vector>

#include "luce/model/sampler.h"

namespace luce {

/// Throws UsageError on options out of range.
void check_sampling(const SampleOptions& options, const ModelConfig& config);
/// Throws DataError on prompts that cannot be continued within `context` tokens, UsageError on
/// requests for nothing.
void check_requests(const std::vector<SampleRequest>& requests, const ModelConfig& config,
                    int64_t context);

}  // namespace luce
