// The view of a loss over answers that are each desirable or not, pairs or no pairs.
#pragma once

#include "luce/loss/loss.h"

namespace luce {

/// Answers one by one. Every tensor is [C] f64; log-probs are sums over tokens, in nats.
struct UnpairedInputs {
  Tensor logps;      // differentiable
  Tensor ref_logps;  // undefined without a reference
  Tensor desirable;  // 1 or 0
  /// log π − log π_ref of other rows' answers, where needs().mismatched: constant, of any number.
  Tensor mismatched_log_ratio;

  /// u = log π(y) − log π_ref(y).
  Tensor log_ratio() const;
};

class UnpairedLoss : public SequenceLoss {
 public:
  Rows rows() const final { return Rows::labelled; }
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const final;
  /// One value an answer, [C], differentiable in the log-probs.
  virtual Tensor values(const UnpairedInputs& answers, Metrics& metrics) const = 0;
};

/// The answers of chosen and rejected role, in order. Throws ArgumentError on other roles.
UnpairedInputs unpaired_inputs(const GroupInputs& inputs);

}  // namespace luce
