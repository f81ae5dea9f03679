// Where DPO equals RLHF and where it does not: the reward model of one is the policy of the other,
// so what separates them is the classes, the data and the start. Everything is a table; what can be
// an exact expectation is one.
#include "experiment/dpo_and_rlhf.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "experiment/experiments.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/base/random.h"
#include "luce/loss/dpo.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"

namespace luce {
namespace dpo_rlhf {

using namespace oracle;

Tensor Problem::first(int64_t d) const { return features.slice(1, 0, d); }

double Problem::regret(const Tensor& log_p) const {
  return (j.value(j.log_optimum()) - j.value(log_p)).item<double>();
}

PairPopulation Problem::pairs(const Tensor& mu) const {
  return population(bradley_terry(j.reward), independent_pairs(mu));
}

Problem random_problem(uint64_t seed, int64_t terms) {
  constexpr int64_t S = 16;
  const Tensor raw = normal({S, S - 1}, 3 * seed);
  const Tensor basis = std::get<0>(at::linalg_qr(raw - raw.mean(0, true))) * std::sqrt(double{S});
  const Tensor k = at::arange(1, S, at::kDouble);
  const Tensor weight = at::where(k <= terms, 1 / k, at::zeros_like(k));
  return {{log_policy(normal({S}, 3 * seed + 1)), basis.matmul(weight), 0.5}, basis};
}

Tensor fitted_reward(const PairPopulation& pairs, const Tensor& features, double decay) {
  const Tensor margin = features.index_select(0, at::tensor(pairs.chosen, at::kLong)) -
                        features.index_select(0, at::tensor(pairs.rejected, at::kLong));
  const auto loss = [&](const Tensor& theta) {
    return -pairs.mean(at::log_sigmoid(margin.matmul(theta))) + decay / 2 * theta.square().sum();
  };
  return features.matmul(minimise(loss, at::zeros({features.size(1)}, at::kDouble)).x);
}

Tensor fitted_dpo(const PairPopulation& pairs, const Tensor& features, const Tensor& log_ref,
                  double beta, double decay) {
  const auto policy = [&](const Tensor& theta) {
    return log_policy(log_ref + features.matmul(theta) / beta);
  };
  const auto loss = [&](const Tensor& theta) {
    return population_loss(Dpo({.beta = beta}), pairs, one_token_each(policy(theta)),
                           one_token_each(log_ref)) +
           decay / 2 * theta.square().sum();
  };
  return policy(minimise(loss, at::zeros({features.size(1)}, at::kDouble)).x);
}

PairPopulation draw(const PairPopulation& from, int64_t pairs, uint64_t seed) {
  const auto cumulative = numbers_of(from.probability.cumsum(0));
  std::vector<double> count(cumulative.size(), 0.0);
  const Random random(seed, Purpose::sample);
  for (int64_t n = 0; n < pairs; ++n) {
    const double u = random.uniform(0, static_cast<uint64_t>(n), 0) * cumulative.back();
    const auto at = std::upper_bound(cumulative.begin(), cumulative.end() - 1, u);
    ++count[static_cast<size_t>(std::distance(cumulative.begin(), at))];
  }
  PairPopulation drawn;
  std::vector<double> probability;
  for (size_t p = 0; p < count.size(); ++p) {
    if (count[p] == 0) continue;
    drawn.chosen.push_back(from.chosen[p]);
    drawn.rejected.push_back(from.rejected[p]);
    probability.push_back(count[p] / static_cast<double>(pairs));
  }
  drawn.probability = numbers(probability);
  return drawn;
}

PairPopulation joined(const PairPopulation& a, int64_t size_a, const PairPopulation& b,
                      int64_t size_b) {
  const double share = static_cast<double>(size_a) / static_cast<double>(size_a + size_b);
  PairPopulation both = a;
  both.chosen.insert(both.chosen.end(), b.chosen.begin(), b.chosen.end());
  both.rejected.insert(both.rejected.end(), b.rejected.begin(), b.rejected.end());
  both.probability = at::cat({share * a.probability, (1 - share) * b.probability});
  return both;
}

Part same_optimum(const ExperimentOptions& options) {
  constexpr int64_t S = 5;
  const KlObjective j{log_policy(normal({S}, 10 * options.seed)),
                      normal({S}, 10 * options.seed + 1), 0.3};
  const auto only = [&](const std::vector<std::pair<int64_t, int64_t>>& pairs) {
    Tensor table = at::zeros({S, S}, at::kDouble);
    for (const auto& [a, b] : pairs) table[a][b] = 1.0 / static_cast<double>(pairs.size());
    return table;
  };
  Part part;
  Table table{
      .title = "DPO's minimiser and RLHF's optimum, with infinitely many pairs",
      .columns = {"pairs compared", "DPO from \u03c0*", "RLHF from \u03c0*", "DPO from RLHF"},
      .rows = {},
      .note =
          "Largest difference of a probability. Five answers, \u03b2 = 0.3; labels from "
          "Bradley\u2013Terry; RLHF: a table of rewards fitted to the labels, then the "
          "optimum for it."};
  for (const auto& [name, key, sampling] :
       {std::tuple{"every two equally often", "uniform", uniform_pairs(S)},
        {"two draws from \u03c0_ref", "reference", independent_pairs(j.log_ref.exp())},
        {"1\u20132, 2\u20133, 3\u20134, 4\u20135 only", "chain",
         only({{0, 1}, {1, 2}, {2, 3}, {3, 4}})},
        {"within {1, 2, 3} and {4, 5} only", "islands", only({{0, 1}, {1, 2}, {0, 2}, {3, 4}})}}) {
    const auto pairs = population(bradley_terry(j.reward), sampling);
    const Tensor dpo = fitted_policy(Dpo({.beta = j.beta}), pairs, j.log_ref).x.exp();
    const Tensor reward = fitted_reward(pairs, at::eye(S, at::kDouble));
    const Tensor rlhf = KlObjective{j.log_ref, reward, j.beta}.log_optimum().exp();
    const Tensor best = j.log_optimum().exp();
    const double off[] = {deviation(dpo, best), deviation(rlhf, best), deviation(dpo, rlhf)};
    table.rows.push_back({name, residual(off[0]), residual(off[1]), residual(off[2])});
    part.figures[key] = {
        {"dpo_to_optimum", off[0]}, {"rlhf_to_optimum", off[1]}, {"dpo_to_rlhf", off[2]}};
  }
  part.tables = {table};
  part.answer =
      cat("With every pair compared and Bradley\u2013Terry labels DPO's minimiser is RLHF's "
          "optimum, to "
          "rounding. Not even all pairs are needed, only a chain that connects all answers; where "
          "nothing connects two groups, both miss \u03c0* alike (by ",
          table.rows.back()[1], ").");
  return part;
}

namespace {

Findings run(const ExperimentOptions& options) {
  Findings all;
  all.figures = Json::object();
  const std::vector<std::pair<const char*, Part (*)(const ExperimentOptions&)>> parts{
      {"same_optimum", same_optimum},       {"broken_bradley_terry", broken_bradley_terry},
      {"small_classes", small_classes},     {"pairs_needed", pairs_needed},
      {"starting_points", starting_points}, {"sources_of_pairs", sources_of_pairs}};
  for (const auto& [name, part] : parts) {
    Part found = part(options);
    all.answer += (all.answer.empty() ? "" : "\n\n") + found.answer;  // a paragraph a part
    std::move(found.tables.begin(), found.tables.end(), std::back_inserter(all.tables));
    std::move(found.charts.begin(), found.charts.end(), std::back_inserter(all.charts));
    all.figures[name] = std::move(found.figures);
  }
  return all;
}

}  // namespace
}  // namespace dpo_rlhf

Experiment dpo_and_rlhf() {
  return {"dpo-and-rlhf", "Where DPO equals RLHF",
          "When do a reward model with reinforcement learning and DPO end at the same policy, and "
          "what separates them: preferences, classes, pairs, the start?",
          dpo_rlhf::run};
}

}  // namespace luce
