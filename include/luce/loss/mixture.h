// Mixture of preferences: raters that do not agree.
#pragma once

#include "luce/loss/registry.h"

namespace luce {

struct MixtureOptions {
  double beta = 0.1;
  double tau = 1;
};
void describe(Schema& s, MixtureOptions& o);

class Mixture : public WithOptions<SequenceLoss, MixtureOptions> {
 public:
  using WithOptions::WithOptions;
  static LossInfo info();
  Rows rows() const override { return Rows::pairs; }
  Needs needs() const override { return {.reference = true, .couples = Coupling::step}; }
  double reward_scale() const override { return options_.beta; }
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const override;
  void check_rows(const std::vector<Example>& train) const override;
};

/// What K reward models of a mixture of raters say of P pairs, and who judged them.
struct RaterEvidence {
  Tensor margins;              // [P, K] f64: reward of the chosen less that of the rejected answer
  std::vector<int64_t> rater;  // [P] −1 where nobody is named: a rater of its own
};

/// The E step of a mixture of Bradley-Terry raters: responsibilities γ [P, K] of each model for
/// each pair's rater, γ ∝ α_k Π σ(Δ_k) over the pairs of the rater, without a gradient.
Tensor responsibilities(const RaterEvidence& evidence, const Tensor& alpha);

/// The M step's loss, [P]: −Σ_k γ_k log σ(Δ_k). Differentiable in the margins.
Tensor mixture_loss(const RaterEvidence& evidence, const Tensor& gamma);

}  // namespace luce
