// The reference's log-probs on disk, keyed by what they are computed from.
#pragma once

#include <filesystem>
#include <vector>

#include "luce/train/offline_task.h"

namespace luce {

/// precompute_logps of all rows, read from `cache_dir` where they were computed before. The file's
/// name is a hash of the model's weights, config and dtype and of every row's tokens, so that a
/// change of any of them computes anew. A file that cannot be read is replaced, with a warning.
PrecomputedLogps cached_logps(const Reference& reference, const std::vector<Example>& train,
                              const std::vector<Example>& eval, const OfflineOptions& options,
                              const std::filesystem::path& cache_dir);

}  // namespace luce
