// Parts of a batch as a loss sees them: cut out where the head holds a chunk, or put together
// where a loss looks at a whole step.
#pragma once

#include <optional>
#include <vector>

#include "luce/loss/loss.h"
#include "luce/ops/head.h"

namespace luce {

struct LossPart {
  GroupInputs inputs;
  HeadStats stats;
  std::vector<int64_t> rows;  // of the data file, one a group
};

/// What the head and the reference found at all targets of a batch.
struct BatchValues {
  Tensor ref_logps;                        // [M], undefined without a reference
  const Candidates* candidates = nullptr;  // named by the loss
};

/// Targets [range.begin, range.end) of a batch, whose statistics are `stats`. `cut` is where the
/// range may have been cut: at whole groups, or inside them for a loss that allows it.
LossPart part_of(const Batch& batch, const BatchValues& values, const HeadStats& stats, Range range,
                 Coupling cut);

/// Whole batches one after the other.
LossPart joined(const std::vector<LossPart>& parts);

/// Slices and joins of a head's gradients: those of targets [range.begin, range.end), with the
/// candidates of these targets.
HeadGradients sliced(const HeadGradients& gradients, Range targets, Range candidates);

}  // namespace luce
