// How many pairs a class needs, against its size.
#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "experiment/dpo_and_rlhf.h"
#include "experiment/text.h"
#include "luce/base/error.h"

namespace luce::dpo_rlhf {

using namespace oracle;

namespace {

constexpr int64_t kClasses[] = {2, 4, 8, 15};
constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// Regret when pairs are many: E[J(π*) − J(π)] → c/n. Fitted weights lie around the true ones with
/// covariance F⁻¹/n, F = E[p (1 − p) δδᵀ] over pairs with features δ = φ_w − φ_l, and
/// J(π*) − J(π) ≈ Var_{π*}(δr)/(2β).
double asymptotic_regret(const Problem& problem, const PairPopulation& pairs, int64_t d) {
  const Tensor phi = problem.first(d), p = problem.j.log_optimum().exp();
  const Tensor delta = phi.index_select(0, at::tensor(pairs.chosen, at::kLong)) -
                       phi.index_select(0, at::tensor(pairs.rejected, at::kLong));
  const Tensor q = at::sigmoid(pairs.margin(problem.j.reward));
  const Tensor fisher = delta.t().matmul((pairs.probability * q * (1 - q)).unsqueeze(1) * delta);
  const Tensor centred = phi - p.matmul(phi);
  const Tensor spread = centred.t().matmul(p.unsqueeze(1) * centred);
  return at::linalg_solve(fisher, spread).trace().item<double>() / (2 * problem.j.beta);
}

/// Regret of the reward that is fitted to n pairs, its weights with a standard normal prior; to all
/// pairs where n is infinite. DPO in the class is the same policy.
double fitted_regret(const Problem& problem, const PairPopulation& data, int64_t d, double n) {
  const Tensor r = fitted_reward(data, problem.first(d), 1 / n);
  return problem.regret(KlObjective{problem.j.log_ref, r, problem.j.beta}.log_optimum());
}

/// Where a falling curve over log₁₀ n first meets a level, by straight lines in log-log; NaN:
/// never.
double crossing(const Series& curve, double level) {
  for (size_t i = 0; i + 1 < curve.x.size(); ++i) {
    if (curve.y[i] < level || curve.y[i + 1] > level) continue;
    const double share = std::log(curve.y[i] / level) / std::log(curve.y[i] / curve.y[i + 1]);
    return std::pow(10, curve.x[i] + share * (curve.x[i + 1] - curve.x[i]));
  }
  return std::numeric_limits<double>::quiet_NaN();
}

/// One true reward, classes of several sizes, data sets of several sizes.
void fill(const Problem& problem, bool within, const std::vector<int64_t>& sizes, uint64_t seeds,
          uint64_t seed, Table& table, LineChart& chart, Json& figures) {
  const auto pairs = problem.pairs(problem.j.log_ref.exp());
  const double start = problem.regret(problem.j.log_ref);
  const auto last = static_cast<double>(sizes.back());
  for (const int64_t n : sizes) {
    std::vector<std::string> row{std::to_string(n)};
    for (size_t c = 0; c < chart.series.size(); ++c) {
      std::vector<double> regret;
      for (uint64_t s = 0; s < seeds; ++s) {
        const auto data = draw(pairs, n, (seed * 1000 + s) * 10000 + static_cast<uint64_t>(n));
        regret.push_back(fitted_regret(problem, data, kClasses[c], static_cast<double>(n)));
      }
      const Estimate mean = mean_of(regret);
      row.push_back(shown(mean, 4));
      chart.series[c].x.push_back(std::log10(static_cast<double>(n)));
      chart.series[c].y.push_back(mean.value);
      figures["classes"][std::to_string(kClasses[c])].push_back(
          {{"pairs", n}, {"regret", mean.value}, {"standard_error", mean.error}});
    }
    table.rows.push_back(row);
  }
  std::vector<std::string> limit{"\u221e"}, fisher{cat(sizes.back(), ", by Fisher")},
      needed{cat("n for ", fixed(start / 10))};
  for (size_t c = 0; c < chart.series.size(); ++c) {
    const std::string d = std::to_string(kClasses[c]);
    const double floor = fitted_regret(problem, pairs, kClasses[c], kInfinite);
    const bool holds = within || kClasses[c] == 15;  // the class holds the true reward
    const double constant = asymptotic_regret(problem, pairs, kClasses[c]);
    const double n = crossing(chart.series[c], start / 10);
    limit.push_back(holds ? residual(floor) : fixed(floor, 4));
    fisher.push_back(holds ? fixed(constant / last, 4) : "\u2013");
    const bool at_once = chart.series[c].y.front() < start / 10;
    needed.push_back(at_once ? cat("< ", sizes.front()) : std::isnan(n) ? "\u2013" : fixed(n, 0));
    figures["regret_of_all_pairs"][d] = floor;
    if (holds) figures["asymptotic_regret_times_n"][d] = constant;
    if (!std::isnan(n)) figures["pairs_for_a_tenth"][d] = n;
  }
  table.rows.insert(table.rows.end(), {limit, fisher, needed});
  figures["regret_of_reference"] = start;
}

}  // namespace

Part pairs_needed(const ExperimentOptions& options) {
  const std::vector<int64_t> sizes = options.quick
                                         ? std::vector<int64_t>{30, 300, 3000}
                                         : std::vector<int64_t>{10, 30, 100, 300, 1000, 3000};
  const uint64_t seeds = options.quick ? 20 : 30;
  Part part;
  for (const int64_t terms : {2, 15}) {
    const Problem problem = random_problem(1000 * options.seed + 500, terms);
    const double start = problem.regret(problem.j.log_ref);
    Table table{cat("Pairs needed, if ", terms, " features make the reward"),
                {"pairs n", "d = 2", "d = 4", "d = 8", "d = 15: a table"},
                {},
                cat("J(\u03c0*) \u2212 J(\u03c0), mean \u00b1 standard error over ", seeds,
                    " data sets; that of \u03c0_ref is ", fixed(start),
                    ". RLHF and DPO with d features are the same policy; weights have a standard "
                    "normal prior. By Fisher: what the information in the pairs lets expect. Last "
                    "row: pairs until a tenth of \u03c0_ref's regret is left, between the rows.")};
    LineChart chart{table.title,
                    {},
                    "J(\u03c0*) \u2212 J(\u03c0), mean over data sets",
                    "log\u2081\u2080 pairs"};
    chart.log_y = true;
    chart.smooth = false;
    for (int c = 0; c < 4; ++c)
      chart.series.push_back({table.columns[static_cast<size_t>(c) + 1], {}, {}, c});
    fill(problem, terms == 2, sizes, seeds, options.seed, table, chart,
         part.figures[cat("reward_of_", terms, "_features")]);
    part.tables.push_back(table);
    part.charts.push_back(chart);
  }
  const auto cell = [&](size_t table, size_t from_end, size_t column) {
    const auto& rows = part.tables[table].rows;
    return rows[rows.size() - from_end][column];
  };
  part.answer =
      cat("Size costs pairs: where 2 features make the reward, a tenth of \u03c0_ref's regret is "
          "left after ",
          cell(0, 1, 1), " pairs with d = 2, ", cell(0, 1, 2), " with 4, ", cell(0, 1, 3),
          " with 8 and ", cell(0, 1, 4),
          " with a table; where 15 make it, d = 2 "
          "stops at ",
          cell(1, 3, 1), " however many there are, and the table goes on to ", cell(1, 4, 4),
          " at n = ", sizes.back(), ".");
  return part;
}

}  // namespace luce::dpo_rlhf
