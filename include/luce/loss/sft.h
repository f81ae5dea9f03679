// Supervised fine-tuning: maximum likelihood of the chosen answers.
#pragma once

#include "luce/base/schema.h"
#include "luce/loss/loss.h"
#include "luce/loss/registry.h"

namespace luce {

struct SftOptions {};

inline void describe(Schema&, SftOptions&) {}

class Sft : public SequenceLoss {
 public:
  using Options = SftOptions;
  static LossInfo info();

  explicit Sft(const Options& = {}) {}
  Needs needs() const override { return {.couples = Coupling::token}; }
  void check_rows(const std::vector<Example>& train) const override;
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const override;
};

}  // namespace luce
