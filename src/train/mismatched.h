// Answers of other rows, for losses that compare with them.
#pragma once

#include <vector>

#include "luce/data/dataset.h"

namespace luce {

/// The rows with an answer of the row before beside each of their own (KTO, arXiv:2402.01306 §4.1),
/// the last row's going to the first; what is longer than max_length loses its end.
std::vector<Example> with_mismatched(const std::vector<const Example*>& rows, int64_t max_length);

}  // namespace luce
