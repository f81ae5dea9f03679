// What losses of preference pairs do to a policy, and where their minima lie: DPO, IPO, ΨPO, SLiC.
#include <ATen/ATen.h>

#include <cmath>

#include "luce/loss/dpo.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

/// Azar et al., arXiv:2310.12036 eq. 17: (u_w − u_l − 1/(2τ))², sums over tokens.
class Ipo : public SequenceLoss {
 public:
  explicit Ipo(double tau) : tau_(tau) {}
  Needs needs() const override { return {.reference = true}; }
  Terms operator()(const GroupInputs& x, Metrics&) const override {
    const Tensor u = x.logps.sum() - x.ref_logps->sum();
    const Tensor gap = u.index_select(0, x.with_role(Role::chosen)) -
                       u.index_select(0, x.with_role(Role::rejected));
    return {{(gap - 1 / (2 * tau_)).square(), Per::item}};
  }

 private:
  double tau_;
};

Result policy_gradient_of_dpo() {
  const double beta = 0.3;
  const Tensor theta = normal({4}, 30).requires_grad_(true), log_ref = log_policy(normal({4}, 31));
  const Tensor logp = log_policy(theta), score = jacobian(logp, theta);
  const Tensor p = bradley_terry(beta * (logp - log_ref));  // from log-ratios: P(w ≻ l)
  const Tensor want = -beta * p[1][0] * (score[0] - score[1]);
  const Tensor loss = population_loss(Dpo({.beta = beta}), one_pair(), one_token_each(logp),
                                      one_token_each(log_ref));
  return {deviation(gradient(loss, theta), want), 1e-8, "P(l ≻ w) = " + figures(p[1][0], 3)};
}

Result psi_with_logit_is_rlhf() {
  const double tau = 0.4;
  const Tensor r = normal({4}, 32), log_ref = log_policy(normal({4}, 33)),
               mu = at::softmax(normal({4}, 34), 0);
  const Tensor p = bradley_terry(r);
  const auto psi = [](const Tensor& q) { return at::logit(q); };
  return worst({deviation(at::logit(p).matmul(mu), r - r.dot(mu)),
                deviation(psi_optimum(log_ref, p, mu, psi, tau),
                          KlObjective{log_ref, r, tau}.log_optimum())});
}

Result optimum_of_psi() {
  const double tau = 0.4;
  const Tensor log_ref = log_policy(normal({4}, 35)), mu = at::full({4}, 0.25, at::kDouble);
  const Tensor half = at::sigmoid(normal({4, 4}, 36));  // any table of preferences, not transitive
  const Tensor p = (half + 1 - half.t()) / 2;
  const auto identity = [](const Tensor& q) { return q; };
  const Tensor optimum = psi_optimum(log_ref, p, mu, identity, tau);
  const Tensor u = optimum - log_ref, gain = p.matmul(mu) / tau;
  const Tensor ipo = fitted_policy(Ipo(tau), population(p, uniform_pairs(4)), log_ref).x;
  return worst({deviation(u.unsqueeze(1) - u, gain.unsqueeze(1) - gain), deviation(ipo, optimum)},
               "IPO's minimum over all ordered pairs lies " +
                   figures((ipo - optimum).abs().max(), 1) + " from it");
}

Result certain_preferences() {
  const Tensor even = numbers({0.5, 0.5}).log();
  std::vector<double> parts, kept, lost;
  for (const auto& [tau, figure] : {std::pair{1.0, 0.622459}, {0.5, 0.731059}, {0.1, 0.993307}}) {
    const Tensor first = fitted_policy(Ipo(tau), one_pair(), even).x[0].exp();
    kept.push_back(first.item<double>());
    parts.push_back(std::abs(kept.back() - 1 / (1 + std::exp(-1 / (2 * tau)))));
    parts.push_back(figure_error(first, {figure}, 1e-6));
  }
  // DPO has no minimum: descent on the logits, in steps of 0.1, widens their gap for ever.
  for (const auto& [beta, figure] : {std::pair{0.1, 1.2e-23}, {1.0, 5.0e-5}, {10.0, 0.19}}) {
    double gap = 0;
    for (int step = 0; step < 100000; ++step) gap += 2 * 0.1 * beta / (1 + std::exp(beta * gap));
    lost.push_back(1 / (1 + std::exp(gap)));
    parts.push_back(figure_error(numbers({lost.back() / figure}), {1}, 0.1));
  }
  return worst(parts, "IPO keeps π(y₁) = " + figures(numbers(kept)) +
                          "; 100,000 steps of DPO leave π(y₂) = " + figures(numbers(lost), 2));
}

Result slope_of_psi() {
  const Tensor q = at::sigmoid(normal({5}, 37)).requires_grad_(true);
  const auto gain = [](double from, double to) {
    return at::logit(numbers({to})) - at::logit(numbers({from}));
  };
  const Tensor certain = gain(0.98, 0.99), even = gain(0.50, 0.51);
  return worst({deviation(gradient(at::logit(q).sum(), q), 1 / (q * (1 - q))),
                figure_error(certain, {0.703}, 1e-3), figure_error(even, {0.040}, 1e-3)},
               ".98 → .99 gains " + figures(certain, 3) + ", .50 → .51 " + figures(even, 3));
}

Result dpo_recovers_the_optimum() {
  const KlObjective j{log_policy(normal({4}, 38)), normal({4}, 39), 0.3};
  const auto pairs = population(bradley_terry(j.reward), uniform_pairs(4));
  const Tensor dpo = fitted_policy(Dpo({.beta = j.beta}), pairs, j.log_ref).x;
  const Tensor off = (dpo.exp() - j.log_optimum().exp()).abs().max();
  return {off.item<double>(), 1e-8, "π = " + figures(dpo.exp(), 3) + ", off by " + figures(off, 1)};
}

Result weights_of_slic() {
  const double delta = 1;
  const Tensor margin = numbers({-2, 0.4, 0.9, 1.1, 3});
  const Tensor w = margin.detach().requires_grad_(true),
               l = at::zeros_like(margin).requires_grad_(true);
  const Tensor loss = at::relu(delta - w + l).sum();
  const Tensor violated = margin.lt(delta).to(at::kDouble);
  return worst({deviation(-gradient(loss, w), violated), deviation(gradient(loss, l), violated)},
               figures(violated.sum()) + " of 5 pairs have L_w − L_l < 1");
}

Result margin_shifts_the_weight() {
  const double m = 0.8;
  const Tensor gap = normal({6}, 41).requires_grad_(true);
  const auto loss = [&](double margin) { return -at::log_sigmoid(gap - margin).sum(); };
  return worst({deviation(-gradient(loss(m), gap), at::sigmoid(m - gap)),
                deviation(loss(0), -at::log_sigmoid(gap).sum())},
               "m = 0.8");
}

/// −q log σ(h) − (1 − q) log σ(−h): the first answer is better with probability q.
Tensor soft_label(const Tensor& h, double q) {
  return (-q * at::log_sigmoid(h) - (1 - q) * at::log_sigmoid(-h)).sum();
}

Result ties_and_soft_labels() {
  const Tensor start = at::full({1}, 0.7, at::kDouble);
  const auto lowest = [&](double q) {
    return minimise([&](const Tensor& h) { return soft_label(h, q); }, start).x;
  };
  const Tensor tie = soft_label(start, 0.5), wanted = numbers({0.8});
  const Tensor h = numbers({0.7, 0.0});  // as log-ratios, against a reference of 0
  const Tensor smoothed = population_loss(Dpo({.beta = 1, .label_smoothing = 0.2}), one_pair(),
                                          one_token_each(h), one_token_each(at::zeros_like(h)));
  return worst({largest(lowest(0.5)), deviation(lowest(0.8), at::logit(wanted)),
                deviation(soft_label(start, 0.8), smoothed), figure_error(tie, {0.753186}, 1e-6)},
               "a tie at h = 0.7 costs " + figures(tie));
}

}  // namespace

std::vector<Identity> preference_identities() {
  return {
      {11, "PolicyGradientOfDpo",
       "DPO's gradient is −β P(l ≻ w) (∇ log π_w − ∇ log π_l), P from the log-ratios β u",
       policy_gradient_of_dpo},
      {17, "PsiWithLogitIsRlhf",
       "under Bradley–Terry E_μ logit p(y ≻ y') = r(y) − E_μ r: ΨPO with logit is RLHF, for any μ",
       psi_with_logit_is_rlhf},
      {18, "OptimumOfPsi",
       "ΨPO's optimum is π_ref exp(E_μ Ψ(p)/τ)/Z; with Ψ(q) = q log-ratios differ by "
       "(p(y ≻ μ) − p(y' ≻ μ))/τ, and IPO over all pairs finds it for uniform μ",
       optimum_of_psi},
      {19, "CertainPreferences",
       "where y₁ always wins, IPO stops at π(y₁) = σ(1/(2τ)); DPO drives π(y₂) to 0 for every β",
       certain_preferences},
      {20, "SlopeOfPsi", "dΨ/dq = 1/(q(1 − q)) for logit, and 1 for Ψ(q) = q", slope_of_psi},
      {23, "DpoRecoversTheOptimum",
       "with all pairs and labels from Bradley–Terry, DPO's minimiser is RLHF's optimum π*",
       dpo_recovers_the_optimum},
      {24, "WeightsOfSlic",
       "SLiC's weights on L_w and L_l are both 1 where L_w − L_l < δ, else 0, without a reference",
       weights_of_slic},
      {37, "MarginShiftsTheWeight",
       "with a margin m the weight is σ(m − Δ); m = 0 is the plain loss", margin_shifts_the_weight},
      {38, "TiesAndSoftLabels",
       "half a label each way has its minimum at h = 0, a label of probability q at logit q, which "
       "is label smoothing by 1 − q",
       ties_and_soft_labels},
  };
}

}  // namespace luce::oracle
