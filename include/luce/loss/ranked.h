// The view of a loss over several answers of a prompt, told apart by scores.
#pragma once

#include "luce/loss/loss.h"

namespace luce {

/// Groups of answers, best first; [Q, K] f64 with K the largest group's size. Places beyond a
/// group's own answers hold 0 and are 0 in `here`.
struct RankedInputs {
  Tensor logps;      // sums over tokens, nats; differentiable
  Tensor ref_logps;  // undefined without a reference
  Tensor score;      // larger is better; of a pair 1 and 0
  Tensor here;       // 1 or 0

  /// u = log π(y) − log π_ref(y); log π(y) without a reference.
  Tensor log_ratio() const;
};

class RankedLoss : public SequenceLoss {
 public:
  Rows rows() const override { return Rows::ranked; }
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const final;
  /// One value a group, [Q], differentiable in the log-probs.
  virtual Tensor values(const RankedInputs& groups, Metrics& metrics) const = 0;
};

/// Answers sorted by their scores; chosen and rejected ones without a score count as 1 and 0.
/// Throws DataError on an answer that has neither.
RankedInputs ranked_inputs(const GroupInputs& inputs);

}  // namespace luce
