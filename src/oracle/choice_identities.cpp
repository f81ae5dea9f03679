// What Luce's choice axiom implies, and what holds where preferences break it.
#include <ATen/ATen.h>

#include <cmath>

#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

/// odds(1 ≻ 2) · odds(2 ≻ 3) / odds(1 ≻ 3): 1 where odds multiply along a chain.
Tensor quotient(const Tensor& preference) {
  const Tensor odds = preference / (1 - preference);
  return odds[0][1] * odds[1][2] / odds[0][2];
}

Result odds_multiply() {
  const Tensor r = normal({4}, 80);
  const Tensor mixed = mixture(numbers({0.6, 0.4}), numbers({2, 0, -1, -2, 1, 0}).view({2, 3}));
  const Tensor opposite = mixture(numbers({0.5, 0.5}), at::stack({r, -r}));
  return worst({largest(quotient(bradley_terry(r)) - 1),
                figure_error(quotient(mixed), {2.022}, 1e-3), largest(opposite - 0.5)},
               "quotient " + figures(quotient(mixed), 4) + " for a mixture of two raters");
}

Result plackett_luce_and_its_marginals() {
  const Tensor s = normal({3}, 81);
  Tensor total = at::zeros({}, at::kDouble), first = at::zeros({3}, at::kDouble),
         before = 0.5 * at::eye(3, at::kDouble);
  for (const auto& order : permutations(3)) {
    const Tensor p = plackett_luce(s, order).exp();
    total += p;
    first[order[0]] += p;
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = i + 1; j < 3; ++j) before[order[i]][order[j]] += p;
  }
  const Tensor two = plackett_luce(s.slice(0, 0, 2), {0, 1}).exp();
  return worst({largest(total - 1), deviation(first, at::softmax(s, 0)),
                deviation(before, bradley_terry(s)), deviation(two, bradley_terry(s)[0][1])},
               "top-1 " + figures(first, 3));
}

Result a_cycle_has_no_reward() {
  const Tensor cycle = numbers({0.5, 1, 0, 0, 0.5, 1, 1, 0, 0.5}).view({3, 3});  // 1 ≻ 2 ≻ 3 ≻ 1
  const Tensor third = at::full({3}, 1.0 / 3, at::kDouble);
  const auto pairs = population(cycle, uniform_pairs(3));
  const auto loss = [&](const Tensor& r) { return -pairs.mean(at::log_sigmoid(pairs.margin(r))); };
  const Tensor fit = minimise(loss, normal({3}, 82)).x;
  const Tensor start = numbers({0.6, 0.3, 0.1});
  const Tensor rlhf = KlObjective{start.log(), fit, 0.1}.log_optimum().exp();
  const Tensor average = averaged_self_play(cycle, start, 0.5, 4000);

  std::vector<double> parts{largest(fit - fit.mean()), deviation(rlhf, start),
                            largest(win_rate(cycle, third) - 0.5),
                            figure_error(average, {0.33, 0.33, 0.33}, 0.01),
                            figure_error(win_rate(cycle, average), {0.5, 0.5, 0.5}, 0.01)};
  for (const auto& [tau, figure] : {std::pair{1.0, std::vector{0.64159, 0.23436, 0.12405}},
                                    {0.1, {0.43207, 0.23033, 0.33761}}}) {
    const Tensor log_p = regularised_nash(start.log(), cycle, tau);
    const Tensor answer = KlObjective{start.log(), win_rate(cycle, log_p.exp()), tau}.log_optimum();
    parts.push_back(deviation(answer, log_p));
    parts.push_back(figure_error(log_p.exp(), figure, 1e-5));
  }
  // Three raters with the orders 123, 231, 312, each a reward of its own.
  const Tensor raters = mixture(third, numbers({10, 5, 0, 0, 10, 5, 5, 0, 10}).view({3, 3}));
  const Tensor edges = at::stack({raters[0][1], raters[1][2], raters[2][0]});
  parts.push_back(figure_error(edges, {0.662, 0.662, 0.662}, 1e-3));
  return worst(parts, "averaged self-play " + figures(average, 3) + "; raters 123, 231, 312 make " +
                          figures(edges[0], 3) + " on each edge");
}

}  // namespace

std::vector<Identity> choice_identities() {
  return {
      {16, "OddsMultiply",
       "under Bradley–Terry odds(1, 2) · odds(2, 3) = odds(1, 3); a mixture of raters "
       "breaks it, and two opposite ones at ½ are even everywhere",
       odds_multiply},
      {36, "PlackettLuceAndItsMarginals",
       "Plackett–Luce: all K! orders sum to 1, the first place is softmax, pairs are Bradley–Terry",
       plackett_luce_and_its_marginals},
      {40, "ACycleHasNoReward",
       "for 1 ≻ 2 ≻ 3 ≻ 1 Bradley–Terry fits R = 0, so that RLHF stays at π_ref; averaged "
       "self-play finds (⅓, ⅓, ⅓), where each earns ½; under a KL penalty a policy answers itself",
       a_cycle_has_no_reward},
  };
}

}  // namespace luce::oracle
