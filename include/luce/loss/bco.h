// Binary classifier optimization with its running shift (Jung et al., arXiv:2404.04656).
#pragma once

#include "luce/loss/registry.h"
#include "luce/loss/unpaired.h"

namespace luce {

struct BcoOptions {
  double beta = 0.1;
};
void describe(Schema& s, BcoOptions& o);

class Bco : public WithOptions<UnpairedLoss, BcoOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Needs needs() const override { return {.reference = true, .couples = Coupling::step}; }
  double reward_scale() const override { return options_.beta; }
  Tensor values(const UnpairedInputs& answers, Metrics& metrics) const override;
  void observe(const GroupInputs& step) override;
  Json state() const override { return {{"delta", delta_}, {"rewards", count_}}; }
  void load_state(const Json& state) override;

 private:
  double delta_ = 0;  // mean of the rewards of all training steps so far
  double count_ = 0;  // their number
};

}  // namespace luce
