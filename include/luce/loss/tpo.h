// Triple preference optimization (Saeidi et al., arXiv:2405.16681).
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct TpoOptions {
  double beta = 0.01;
  double tpo_alpha = 1;
  double gamma = 0.5;
  double label_smoothing = 0;
  std::string form = "sigmoid";
};
void describe(Schema& s, TpoOptions& o);

class Tpo : public PolicyPairLoss<TpoOptions> {
 public:
  using PolicyPairLoss::PolicyPairLoss;
  static LossInfo info();
  Needs needs() const override { return {.gold = true}; }
  double gold_nll_weight() const override { return options_.tpo_alpha; }
  bool per_token() const override { return options_.form == "ipo" || options_.form == "tpo-l"; }
  void check_rows(const std::vector<Example>& train) const override;
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;
};

}  // namespace luce
