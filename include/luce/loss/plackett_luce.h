// Plackett-Luce: the likelihood of a whole ranking.
#pragma once

#include "luce/loss/ranked.h"
#include "luce/loss/registry.h"

namespace luce {

struct PlackettLuceOptions {
  double beta = 0.1;
  std::string form = "ranking";
};
void describe(Schema& s, PlackettLuceOptions& o);

class PlackettLuce : public WithOptions<RankedLoss, PlackettLuceOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return options_.beta; }
  Tensor values(const RankedInputs& groups, Metrics& metrics) const override;
};

}  // namespace luce
