// From the files that a config names to the rows that its loss learns from.
#pragma once

#include "luce/train/run.h"

namespace luce {

DatasetOptions dataset_options(const RunConfig& config);

/// What a loss asks of its rows.
struct RowNeeds {
  Rows rows = Rows::any;
  bool gold = false;         // reads gold answers
  bool comparisons = false;  // of scored answers it compares those of one prompt
};
RowNeeds needs_of(const SequenceLoss& loss);
RowNeeds needs_of(const RewardLoss& loss);

/// The rows that a config names, train and eval, as they will be used.
std::pair<Dataset, std::optional<Dataset>> load_rows(const RunConfig& config, const RowNeeds& needs,
                                                     const Tokenizer* tokenizer);

/// Measures CHES of the training pairs, writes ches.jsonl, and leaves out the pairs of the largest.
void use_ches(const CausalLM& model, const RunConfig& config, std::vector<Example>& train,
              int64_t micro_batch_tokens);

/// Gives the scores of all rows the mean 0 and the deviation 1 of the training rows; the numbers
/// go to the config, from which they are saved.
void standardise(std::vector<Example>& train, std::vector<Example>& eval, DataSection& data);

}  // namespace luce
