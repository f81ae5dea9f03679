// Where the mass goes that DPO takes from the rejected answer: its loss sees only the quotient of
// two probabilities, and what the policy's parameters share decides about all the others.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "luce/loss/dpo.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

constexpr double kBeta = 0.1, kEpsilon = 1e-6;

/// The first of three answers is always preferred to the second; the third is never seen.
Tensor loss_of(const Tensor& logp, const Tensor& log_ref) {
  return population_loss(Dpo({.beta = kBeta}), one_pair(), one_token_each(logp),
                         one_token_each(log_ref));
}

/// A reference that hardly knows the third answer, and one parameter u that moves all three: the
/// logits are log π_ref + u · (1, 0, 2).
struct CoupledPath {
  Tensor log_ref = numbers({(1 - kEpsilon) / 2, (1 - kEpsilon) / 2, kEpsilon}).log();
  Tensor direction = numbers({1, 0, 2});

  Tensor policy(const Tensor& u) const { return coupled_policy(log_ref, direction, u); }
  double slope(double at) const {
    const Tensor u = numbers({at}).requires_grad_(true);
    return gradient(loss_of(policy(u), log_ref), u).item<double>();
  }
};

Result dpo_sees_a_quotient() {
  const CoupledPath path;
  const Tensor logp = log_policy(normal({3}, 50)), p = logp.exp();
  const Tensor quotient_loss = at::log1p((p[1] / p[0]).pow(kBeta));

  double uphill = 0;  // the loss's largest slope along the path: descent must only ever raise u
  for (double u = 0; u <= 30; u += 0.5) uphill = std::max(uphill, path.slope(u));
  // π(y₁) is highest where ε e^{2u} = (1 − ε)/2, and π(y₃) = 9 π(y₁) where 2 ε e^u = 9 (1 − ε).
  const Tensor peak = minimise([&](const Tensor& u) { return -path.policy(u)[0]; }, numbers({1})).x;
  const Tensor peak_u = numbers({std::log((1 - kEpsilon) / (2 * kEpsilon)) / 2});
  const Tensor late_u = numbers({std::log(9 * (1 - kEpsilon) / (2 * kEpsilon))});
  const Tensor highest = path.policy(peak)[0].exp(), late = path.policy(late_u).exp();
  const Tensor late_loss = loss_of(late.log(), path.log_ref);

  std::vector<double> parts{deviation(loss_of(logp, path.log_ref), quotient_loss),
                            uphill,
                            deviation(peak, peak_u),
                            figure_error(peak_u, {6.5612}, 1e-4),
                            figure_error(highest, {0.99718}, 1e-5),
                            figure_error(late_u, {15.3196}, 1e-4),
                            figure_error(late, {0.1, 0, 0.9}, 1e-6),
                            figure_error(1e8 * late[1], {2.2}, 0.1),
                            figure_error(late_loss, {0.19566}, 1e-5)};

  // Reinforcement learning instead, from rewards that differ by Δ: a reward model with the same one
  // parameter gives the third answer 2Δ, a table leaves it at 0.
  std::vector<double> third;
  for (const auto& [ratio, figure] : {std::pair{5.0, 0.0003}, {10.0, 0.042}, {20.0, 0.999}}) {
    const Tensor linear = KlObjective{path.log_ref, ratio * path.direction, 1}.log_optimum().exp();
    const Tensor table = KlObjective{path.log_ref, numbers({ratio, 0, 0}), 1}.log_optimum().exp();
    third.push_back(linear[2].item<double>());
    const Tensor pair = table.slice(0, 0, 2);
    parts.push_back(deviation(pair[0] / pair.sum(), numbers({ratio}).sigmoid()));
    parts.push_back(figure_error(table[2], {0}, 1e-6));
    parts.push_back(figure_error(linear[2], {figure}, figure < 0.001 ? 1e-4 : 1e-3));
  }
  return worst(parts, "π(y₁) peaks at " + figures(highest, 5) + " for u = " + figures(peak) +
                          "; at u = " + figures(late_u) + " π is " + figures(late, 2) +
                          " and the loss " + figures(late_loss, 5) + "; a linear reward gives y₃ " +
                          figures(numbers(third), 3));
}

Result dpo_leaves_other_logits_alone() {
  const Tensor log_ref = numbers({1, 1, 1}).div(3).log();
  const auto slope = [&](const Tensor& logits) {
    const Tensor theta = logits.detach().requires_grad_(true);
    return gradient(loss_of(log_policy(theta), log_ref), theta).detach();
  };
  const Tensor theta = normal({3}, 51);
  const double weight = kBeta / (1 + std::exp(kBeta * (theta[0] - theta[1]).item<double>()));
  std::vector<double> parts{deviation(slope(theta), numbers({-weight, weight, 0})),
                            deviation(slope(log_ref), numbers({-0.05, 0.05, 0}))};
  Tensor now = log_ref;
  for (int step = 0; step < 200; ++step) {
    const Tensor next = now - slope(now);
    parts.push_back(largest(at::relu(log_policy(next)[2] - log_policy(now)[2])));
    now = next;
  }
  return worst(parts, "gradient at the start " + figures(slope(log_ref), 2) +
                          "; 200 steps of 1 take y₃ from 0.333 to " +
                          figures(log_policy(now)[2].exp(), 3));
}

}  // namespace

std::vector<Identity> displacement_identities() {
  return {
      {21, "DpoSeesAQuotient",
       "DPO's loss at (a, b, 1 − a − b) is log(1 + (b/a)^β) if the reference is even on the pair: "
       "where parameters are shared it falls on while the mass moves to an unseen y₃",
       dpo_sees_a_quotient},
      {22, "DpoLeavesOtherLogitsAlone",
       "with free logits DPO's gradient is −β P(l ≻ w) (e_w − e_l), 0 on all others; from a "
       "uniform reference an unseen answer only shrinks",
       dpo_leaves_other_logits_alone},
  };
}

}  // namespace luce::oracle
