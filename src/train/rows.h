// From the files that a config names to the rows that its loss learns from.
#pragma once

#include "luce/train/run.h"

namespace luce {

DatasetOptions dataset_options(const RunConfig& config);

/// Gives the scores of all rows the mean 0 and the deviation 1 of the training rows; the numbers
/// go to the config, from which they are saved.
void standardise(std::vector<Example>& train, std::vector<Example>& eval, DataSection& data);

}  // namespace luce
