// ΨPO on pairs, arXiv:2310.12036 §4. The optimum is π* ∝ π_ref exp(E_μ Ψ(p(y ≻ ·)) / τ); between
// two answers, with μ uniform on them, its log-ratios differ by
//   D* = (Ψ(p) − Ψ(1−p)) / (2τ)      p: probability that y⁺ is the better one
//   ℓ = (u⁺ − u⁻ − D*)²              Ψ = identity and p = 1: ipo on sums
// Ψ = logit is infinite at p = 1; its minimiser over many judgements is that of the cross-entropy
//   ℓ = −p log σ(τ (u⁺ − u⁻)) − (1−p) log σ(−τ (u⁺ − u⁻))      dpo with β = τ
#include "luce/loss/psi.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"

namespace luce {

void describe(Schema& s, PsiOptions& o) {
  s.field("tau", o.tau, "strength of the pull towards the reference").above(0);
  s.field("psi", o.psi, "function of the preference probability whose mean is raised")
      .one_of({"identity", "logit"});
}

LossInfo Psi::info() {
  return {.name = "psi",
          .aliases = {},
          .title = "General PsiPO",
          .paper = "Azar et al. 2023, arXiv:2310.12036, section 4",
          .formula =
              "D* = (Psi(p) - Psi(1-p)) / (2 tau), p the preference\n"
              "loss = (u+ - u- - D*)^2; for Psi = logit the cross-entropy of p and "
              "sigmoid(tau (u+ - u-))",
          .notes =
              "p is 1 unless the row carries a rating (data.ratings). Any other Psi is "
              "a C++ constructor away.",
          .weights =
              "-2 (u+ - u- - D*); for logit tau (p - sigmoid(tau (u+ - u-))); both "
              "alike"};
}

Psi::Psi(std::function<Tensor(const Tensor&)> psi, double tau)
    : WithOptions({.tau = tau, .psi = "own"}), psi_(std::move(psi)) {}

Tensor Psi::values(const PairInputs& pair, Metrics&) const {
  const auto& [tau, name] = options_;
  const auto u = pair.log_ratio();
  const Tensor gap = u.chosen - u.rejected;
  const Tensor p = pair.preference.defined() ? pair.preference : at::ones_like(gap).detach();
  if (name == "logit")
    return -p * at::log_sigmoid(tau * gap) - (1 - p) * at::log_sigmoid(-tau * gap);
  const auto psi = [&](const Tensor& at) { return psi_ ? psi_(at) : at; };
  const Tensor target = (psi(p) - psi(1 - p)) / (2 * tau);
  if (!at::isfinite(target).all().item<bool>())
    throw DataError(
        "psi: this Ψ is infinite at a preference of 0 or 1; rows must carry ratings that "
        "data.ratings turns into labels between");
  return (gap - target).square();
}

}  // namespace luce
