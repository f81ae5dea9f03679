// Advantages of groups: the expected update over all groups that a policy can draw.
#include <ATen/ATen.h>

#include <functional>

#include "luce/oracle/calculus.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

/// Advantages [..., K] of groups with these rewards.
using Advantage = std::function<Tensor(const Tensor&)>;

/// Kool et al. 2019: the reward over the mean of the group's others.
Tensor leave_one_out(const Tensor& r) {
  const auto k = static_cast<double>(r.size(-1));
  return r - (r.sum(-1, true) - r) / (k - 1);
}

Tensor centred(const Tensor& r) { return r - r.mean(-1, true); }

/// Shao et al., arXiv:2402.03300: standardised within the group, with the unbiased deviation.
Tensor standardised(const Tensor& r, double epsilon = 1e-4) {
  return centred(r) / (r.std(-1, /*unbiased=*/true, /*keepdim=*/true) + epsilon);
}

/// Three answers with fixed rewards, and groups of three draws.
struct Bandit {
  Tensor theta = numbers({0.2, -0.4, 0.5}).requires_grad_(true);
  Tensor reward = numbers({1.0, 0.0, 0.3});

  Tensor exact() const { return gradient(expectation(log_policy(theta), reward), theta); }
  /// E over all 27 groups of (1/K) Σ_i A_i ∇ log π(y_i).
  Tensor expected_update(const Advantage& advantage) const {
    const Tensor one = at::arange(3), groups = at::cartesian_prod({one, one, one});  // [27, K]
    const Tensor logp = log_policy(theta).index({groups});
    const Tensor a = advantage(reward.index({groups}));
    return gradient((logp.sum(1).exp().detach() * (a * logp).mean(1)).sum(), theta);
  }
};

Result leave_one_out_is_unbiased() {
  const Bandit b;
  const Tensor r = normal({5}, 70), a = leave_one_out(r), g = b.expected_update(leave_one_out);
  return worst({deviation(a, 5.0 / 4 * centred(r)), largest(a.sum()), deviation(g, b.exact()),
                figure_error(g, {0.177774, -0.091767, -0.086007}, 1e-6)},
               "∇J = " + figures(g, 5));
}

Result group_statistics_bias_the_update() {
  const Bandit b;
  const Tensor mean = b.expected_update(centred);
  const Tensor deviated = b.expected_update([](const Tensor& r) { return standardised(r); });
  const Tensor cosine = at::cosine_similarity(deviated, b.exact(), 0);
  return worst({deviation(mean, 2.0 / 3 * b.exact()),
                figure_error(deviated, {0.257803, -0.158300, -0.099503}, 1e-6),
                figure_error(cosine, {0.99371}, 1e-5)},
               "standardised " + figures(deviated, 5) + ", cosine " + figures(cosine, 5));
}

Result scale_and_shift_of_rewards() {
  const Tensor r = normal({6, 5}, 71);
  const double b = 3, c = 7.3;
  const Tensor off = (standardised(c * r) - standardised(r)).abs().max();
  return worst({deviation(leave_one_out(r + b), leave_one_out(r)),
                deviation(standardised(r + b), standardised(r)),
                deviation(standardised(c * r, 0), standardised(r, 0)),
                deviation(standardised(c * r), standardised(r, 1e-4 / c))},
               "times 7.3 moves the largest by " + figures(off, 1));
}

}  // namespace

std::vector<Identity> advantage_identities() {
  return {
      {32, "LeaveOneOutIsUnbiased",
       "RLOO: R_i − mean of the others = K/(K−1) (R_i − mean), of sum 0; E[update] = ∇J",
       leave_one_out_is_unbiased},
      {33, "GroupStatisticsBiasTheUpdate",
       "R_i − mean over all has E[update] = (K−1)/K ∇J; divided by the group's deviation, as GRPO "
       "does, it is another direction",
       group_statistics_bias_the_update},
      {41, "ScaleAndShiftOfRewards",
       "R + b leaves RLOO's and GRPO's advantages as they are; cR, c > 0, GRPO's, but for the 1e-4 "
       "beside the deviation, which acts as 1e-4/c",
       scale_and_shift_of_rewards},
  };
}

}  // namespace luce::oracle
