// What a loss of a reward model is: it sees scores where other losses see log-probs, and like them
// returns unreduced values.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "luce/data/score_config.h"
#include "luce/loss/loss.h"

namespace luce {

/// Scores of the answers of whole groups.
struct ScoreInputs {
  Tensor scores;  // [R, O] differentiable; O heads (reward), 1 (outcome) or 2 (process) numbers
  std::vector<int64_t> offset;  // [C+1] answer c owns rows [offset[c], offset[c+1]): its last token
                                // (reward), every token (outcome), the ends of its steps (process)
  std::vector<Role> role;       // [C]
  std::vector<int64_t> group;   // [Q+1] group q owns answers [group[q], group[q+1])
  Judgements columns;
  Tensor share = {};  // [Q, O] what each head learns of each group; undefined: all of it

  int64_t num_groups() const { return static_cast<int64_t>(group.size()) - 1; }
  /// The scores of one head as the values of answers, for the views that other losses use.
  GroupInputs of_head(int64_t head) const;
  /// [C, O] the score at each answer's last place.
  Tensor last() const;
  /// Scores [Q, O] of the answers with that role, one a group. Throws DataError where a group has
  /// none or several.
  Tensor with_role(Role wanted) const;
};

/// A term from one value for each group and head, [Q, O], or each answer and head, [C, O]: the mean
/// over heads of what each learns.
Term over_heads(const Tensor& values, const ScoreInputs& inputs, Per per = Per::item);

class RewardLoss {
 public:
  virtual ~RewardLoss() = default;
  /// Where scores are taken, and how many numbers the head gives there.
  virtual ScoreKind kind() const { return ScoreKind::reward; }
  virtual Rows rows() const = 0;
  /// Scores are learnt on a scale that the rows give: standardise their scores first.
  virtual bool predicts_scores() const { return false; }
  /// What it must see at once; a loss that couples the step is called once with all of it.
  virtual Coupling couples() const { return Coupling::group; }
  /// Whether each of several heads may learn from a share of the groups (ScoreInputs::share).
  virtual bool subsamples() const { return true; }
  /// Heads without which the loss makes no sense.
  virtual int64_t least_heads() const { return 1; }
  /// Unreduced terms, differentiable in the scores. Throws DataError on rows it cannot read.
  virtual Terms operator()(const ScoreInputs& inputs, Metrics& metrics) const = 0;
  /// Looks at all rows before training begins. Throws DataError where nothing can be learnt.
  virtual void check_rows(const std::vector<Example>& /*train*/) const {}

  /// Called once a step, before operator(), where the loss couples it.
  virtual void observe(const ScoreInputs& /*step*/) {}
  /// Running statistics for a checkpoint; null: there are none.
  virtual Json state() const { return nullptr; }
  /// Throws DataError on what state() never gives.
  virtual void load_state(const Json& state);
};

}  // namespace luce
