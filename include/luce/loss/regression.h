// Regression of log-ratios on scores.
#pragma once

#include "luce/loss/ranked.h"
#include "luce/loss/registry.h"

namespace luce {

struct RegressionOptions {
  double beta = 0.1;
};
void describe(Schema& s, RegressionOptions& o);

class Regression : public WithOptions<RankedLoss, RegressionOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Rows rows() const override { return Rows::scored; }
  Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return options_.beta; }
  Tensor values(const RankedInputs& groups, Metrics& metrics) const override;
};

}  // namespace luce
