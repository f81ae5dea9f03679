// Classes of rewards and of policies that are too small.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "experiment/dpo_and_rlhf.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/oracle/calculus.h"

namespace luce::dpo_rlhf {

using namespace oracle;

namespace {

/// The policy π ∝ π_ref e^{Φθ/β} of largest J, uphill from one with a reward Φθ.
Tensor best_of_class(const KlObjective& j, const Tensor& features, const Tensor& reward) {
  const auto policy = [&](const Tensor& theta) {
    return log_policy(j.log_ref + features.matmul(theta) / j.beta);
  };
  const Tensor start = at::linalg_pinv(features).matmul(reward);
  return policy(minimise([&](const Tensor& t) { return -j.value(policy(t)); }, start).x);
}

}  // namespace

Part small_classes(const ExperimentOptions& options) {
  const uint64_t problems = options.quick ? 4 : 20;
  Part part;
  Table table{
      "Classes of d features, infinitely many pairs",
      {"d", "RLHF, small reward", "DPO, small policy", "RLHF, small policy", "DPO, table"},
      {},
      "J(\u03c0*) \u2212 J(\u03c0) under the true reward, mean \u00b1 standard error over random "
      "problems of 16 answers; pairs from \u03c0_ref. RLHF with a small policy has a table of "
      "rewards; DPO with a table is the same for every d."};
  LineChart chart{"Regret of small classes",
                  {{"RLHF, small reward", {}, {}, 0},
                   {"DPO, small policy", {}, {}, 1, true},
                   {"RLHF, small policy", {}, {}, 2},
                   {"DPO, table", {}, {}, 3}},
                  "J(\u03c0*) \u2212 J(\u03c0), mean over random problems",
                  "features d"};
  chart.smooth = false;
  const std::vector<int64_t> classes{1, 2, 4, 8, 15};
  std::vector<std::vector<std::vector<double>>> regret(
      classes.size(), std::vector<std::vector<double>>(chart.series.size()));
  double same = 0;
  for (uint64_t k = 0; k < problems; ++k) {
    const Problem problem = random_problem(1000 * options.seed + k);
    const auto& j = problem.j;
    const auto pairs = problem.pairs(j.log_ref.exp());
    const double table_regret =
        problem.regret(fitted_policy(Dpo({.beta = j.beta}), pairs, j.log_ref).x);
    for (size_t c = 0; c < classes.size(); ++c) {
      const Tensor features = problem.first(classes[c]);
      const Tensor reward = fitted_reward(pairs, features);
      const Tensor rlhf = KlObjective{j.log_ref, reward, j.beta}.log_optimum();
      const Tensor dpo = fitted_dpo(pairs, features, j.log_ref, j.beta);
      same = std::max(same, deviation(rlhf.exp(), dpo.exp()));
      regret[c][0].push_back(problem.regret(rlhf));
      regret[c][1].push_back(problem.regret(dpo));
      regret[c][2].push_back(problem.regret(best_of_class(j, features, reward)));
      regret[c][3].push_back(table_regret);
    }
  }
  for (size_t c = 0; c < classes.size(); ++c) {
    std::vector<std::string> row{std::to_string(classes[c])};
    for (size_t m = 0; m < chart.series.size(); ++m) {
      const Estimate mean = mean_of(regret[c][m]);
      row.push_back(std::abs(mean.value) < 1e-9 ? residual(mean.value) : shown(mean, 4));
      part.figures["regret"][chart.series[m].name].push_back(mean.value);
      chart.series[m].x.push_back(static_cast<double>(classes[c]));
      chart.series[m].y.push_back(mean.value);
    }
    part.figures["d"].push_back(classes[c]);
    table.rows.push_back(row);
  }
  part.figures["dpo_to_rlhf"] = same;
  part.tables = {table};
  part.charts = {chart};
  const auto at = [&](size_t method, size_t d) { return fixed(chart.series[method].y[d]); };
  part.answer = cat(
      "A reward model of d features and DPO with a policy of the same d features are one policy, "
      "whose regret falls from ",
      at(0, 0), " (d = 1) to ", at(0, 3),
      " (d = 8). DPO with a table "
      "does not need the features. If the policy is what is small, RLHF with a table of rewards is "
      "better than DPO (",
      at(2, 1), " against ", at(1, 1),
      " at d = 2): it looks for the class's best J, DPO for its best account of the labels.");
  return part;
}

}  // namespace luce::dpo_rlhf
