// What a row says about its completions beside their texts: which is better, by how much, who says.
#pragma once

#include <string>

#include "luce/data/examples.h"

namespace luce {

/// Fills roles, margin, preference, scores, steps and rater of `texts`, whose completions have been
/// read; a negative rating swaps the first two of them. Throws DataError on a missing or wrong
/// value, on counts that differ, and on values that contradict each other.
void read_judgements(const Columns& row, RowType type, const DatasetOptions& options,
                     RowTexts& texts);

/// "chosen", "rejected", …
std::string name_of(Role role);

}  // namespace luce
