// Kahneman-Tversky optimization (Ethayarajh et al., arXiv:2402.01306).
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/unpaired.h"

namespace luce {

struct KtoOptions {
  double beta = 0.1;
  double desirable_weight = 1;
  double undesirable_weight = 1;
};
void describe(Schema& s, KtoOptions& o);

class Kto : public WithOptions<UnpairedLoss, KtoOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override {
    return {.reference = true, .couples = Coupling::step, .mismatched = true};
  }
  double reward_scale() const override { return options_.beta; }
  Tensor values(const UnpairedInputs& answers, Metrics& metrics) const override;
  void check_rows(const std::vector<Example>& train) const override;
};

}  // namespace luce
