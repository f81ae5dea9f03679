// Rows that stand in memory, as the micro-batches of optimizer steps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "luce/data/dataset.h"
#include "luce/data/model_config.h"
#include "luce/train/task.h"

namespace luce {

struct RowOptions {
  int64_t batch_size = 8;  // rows in one optimizer step
  int64_t micro_batch_tokens = 16384;
  bool shuffle = true;
  uint64_t seed = 42;
  BatchOptions batch;
  bool rows_come_later = false;  // made while training: none at the start is no mistake
};

using RowList = std::vector<const Example*>;

class RowSteps {
 public:
  /// Throws DataError where there are no rows to train on, or one does not fit the model.
  RowSteps(std::vector<Example> train, std::vector<Example> eval, const ModelConfig& model,
           const RowOptions& options);

  const std::vector<Example>& train() const { return train_; }
  const std::vector<Example>& eval() const { return eval_; }
  int64_t steps_per_epoch() const;
  /// The micro-batches of step `step` (from 0): a pure function of its argument.
  Step next(int64_t step) const;
  /// Cuts rows into micro-batches of at most micro_batch_tokens, a row never.
  std::vector<RowList> micro_batches(const RowList& rows) const;

 private:
  std::vector<Example> train_, eval_;
  RowOptions options_;
};

/// Pointers to all rows.
RowList pointers(const std::vector<Example>& rows);

/// "rows 3, 17 and 20 more": lines of the data file, for errors.
std::string named_rows(const std::vector<int64_t>& rows);

}  // namespace luce
