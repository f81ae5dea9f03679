// ΨPO: preference optimization for any increasing Ψ of the preference probability (Azar et al.,
// arXiv:2310.12036).
#pragma once

#include <functional>

#include "luce/loss/registry.h"

namespace luce {

struct PsiOptions {
  double tau = 0.1;
  std::string psi = "identity";
};
void describe(Schema& s, PsiOptions& o);

class Psi : public WithOptions<PairLoss, PsiOptions> {
 public:
  using WithOptions::WithOptions;
  /// For a Ψ of one's own, increasing on [0, 1]; where it is infinite at 0 or 1, rows must carry
  /// preferences strictly between.
  Psi(std::function<Tensor(const Tensor&)> psi, double tau);
  static LossInfo info();
  Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return options_.tau; }
  bool takes_preference() const override { return true; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override;

 private:
  std::function<Tensor(const Tensor&)> psi_;
};

}  // namespace luce
