// Running rows through a model without a gradient, in parts that fit.
#pragma once

#include "luce/batch.h"
#include "luce/model/causal_lm.h"
#include "luce/ops/tensor.h"

namespace luce {

using RowList = std::vector<const Example*>;

/// Calls fn(batch) with all rows in order, in parts of at most so many tokens; one row is a part
/// at least.
template <class Fn>
void for_batches(const RowList& rows, int64_t tokens, const BatchOptions& options, const Fn& fn) {
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin;
    for (int64_t sum = 0; end < rows.size(); ++end) {
      sum += rows_of(*rows[end], options);
      if (end > begin && sum > tokens) break;
    }
    fn(make_batch(
        {rows.begin() + static_cast<int64_t>(begin), rows.begin() + static_cast<int64_t>(end)},
        options));
    begin = end;
  }
}

/// The hidden states behind a batch's targets, [M, D]. The batch lies on the model's device.
Tensor target_hidden(const CausalLM& model, const Batch& batch);

/// f64 on the CPU, in one piece.
Tensor on_cpu(const Tensor& t);

/// log π of every completion of a batch, wherever it lies: [C] f64 on the CPU, nats.
Tensor completion_logps(const CausalLM& model, const Batch& batch);

}  // namespace luce
