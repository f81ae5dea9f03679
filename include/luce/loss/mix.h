// Several losses added up with weights.
#pragma once

#include "luce/loss/loss.h"

namespace luce {

class LossMix : public SequenceLoss {
 public:
  struct Part {
    std::unique_ptr<SequenceLoss> loss;
    double weight = 1;
  };
  /// Throws ArgumentError where the parts do not go together: they want rows of different kinds, or
  /// more than one names candidate tokens.
  explicit LossMix(std::vector<Part> parts);
  Rows rows() const override { return rows_; }
  Needs needs() const override;
  double reward_scale() const override;
  /// Those of the first part that has any.
  Tensor rewards(const GroupInputs& inputs) const override;
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const override;
  void check_rows(const std::vector<Example>& train) const override;
  void candidates(const Example& row, size_t completion,
                  std::vector<std::vector<int64_t>>& tokens) const override;
  void observe(const GroupInputs& step) override;
  Json state() const override;
  void load_state(const Json& state) override;

 private:
  std::vector<Part> parts_;
  Rows rows_ = Rows::any;
};

}  // namespace luce
