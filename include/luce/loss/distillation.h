// Distillation from a teacher: its whole distribution at every token.
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct DistillationOptions {
  std::string divergence = "jsd";
  double beta = 0.5;
  double temperature = 1;
};
void describe(Schema& s, DistillationOptions& o);

class Distillation : public WithOptions<SequenceLoss, DistillationOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override;
  /// There is no term in the log-probs of tokens: all of it is a divergence.
  Terms operator()(const GroupInputs&, Metrics&) const override { return {}; }
};

}  // namespace luce
