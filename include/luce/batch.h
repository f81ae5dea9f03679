// A batch is a forest: prompts, and the completions that continue them. Flat and ragged: there is
// no pad token and no attention mask, so neither can be got wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "luce/data/dataset.h"
#include "luce/ops/attention.h"
#include "luce/ops/tensor.h"

namespace luce {

/// The smallest part of a step whose values a loss must see together. Chunks of logits and
/// micro-batches are cut between such parts.
enum class Coupling : uint8_t { token, sequence, group, step };

/// Rows of the flat token stream.
struct Segment {
  int64_t begin = 0, length = 0;
};

/// What rows say of their answers beside the texts.
struct Judgements {
  std::vector<double> margin;                 // [Q] see Example
  std::vector<double> preference;             // [Q]
  std::vector<int64_t> rater;                 // [Q]
  std::vector<double> score;                  // [C] NaN where a row has none
  std::vector<std::vector<StepLabel>> steps;  // [C]
};

struct Batch {
  Tensor tokens, positions;  // [N] i64: every prompt once, each followed by its completions, which
                             // continue its positions. A completion's last token is only a target,
                             // unless own_rows are asked for
  std::vector<Segment> prompts;      // [P]
  std::vector<Segment> completions;  // [C] the rows of each
  std::vector<int64_t> parent;       // [C] the prompt of each
  std::vector<Role> role;            // [C]
  Tensor targets;                    // [M] i64: the scored tokens of all completions, in order
  Tensor head_rows;                  // [M] i64: the row of the stream that predicts each
  Tensor own_rows;                   // [M] i64: its own row; undefined unless asked for
  std::vector<int64_t> offset;       // [C+1] completion c owns targets [offset[c], offset[c+1])
  std::vector<int64_t> group;  // [Q+1] group q owns completions [group[q], group[q+1]): a pair,
                               // or a lone demonstration
  std::vector<int64_t> row;    // [Q] the line of the data file behind each group
  Judgements columns;

  int64_t num_targets() const { return offset.back(); }
  int64_t num_groups() const { return static_cast<int64_t>(row.size()); }
  /// Tokens that a padding-free peer would read: prompts once per completion, last tokens too.
  int64_t num_tokens = 0;
  /// The attention pattern of the trunk.
  std::vector<TreeSegment> segments() const;
  /// The targets at which a loss of this coupling may be cut: the first of every unit, and M.
  std::vector<int64_t> units(Coupling coupling = Coupling::group) const;
  /// The same batch with its tensors on another device.
  Batch to(const c10::Device& device) const;
};

struct BatchOptions {
  bool prefix_sharing = true;  // false: every completion runs a prompt of its own
  bool own_rows = false;  // completions run with their last token, which a head of scores reads
};

/// Lays examples out as one batch. Throws ArgumentError on an example without a prompt token or
/// completions.
Batch make_batch(const std::vector<const Example*>& examples, const BatchOptions& options = {});

/// Rows of the stream that an example will take.
int64_t rows_of(const Example& example, const BatchOptions& options = {});

}  // namespace luce
