// Unlikelihood training (Welleck et al., arXiv:1908.04319) in three forms.
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct UnlikelihoodOptions {
  std::string form = "sequence";
  double alpha = 1;
  double floor = -10;
  std::string context = "all";
  bool include_gold = false;
};
void describe(Schema& s, UnlikelihoodOptions& o);

class Unlikelihood : public WithOptions<SequenceLoss, UnlikelihoodOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Rows rows() const override { return options_.form == "token" ? Rows::any : Rows::pairs; }
  Needs needs() const override;
  Tensor rewards(const GroupInputs& x) const override { return scaled(x.logps.sum(), 1); }
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const override;
  void candidates(const Example& row, size_t completion,
                  std::vector<std::vector<int64_t>>& tokens) const override;
};

}  // namespace luce
