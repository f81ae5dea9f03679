// The weights of every loss by closed form and by autograd, on a random problem and by margin.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "experiment/one_family.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::family {

using namespace oracle;

namespace {

/// The loss of the pair as a function of log π, or of R.
Tensor loss_of(const Member& m, const Tensor& x, const Tensor& log_ref) {
  const Tensor logp = m.of == Of::optimum ? KlObjective{log_ref, x, kBeta}.log_optimum() : x;
  return population_loss(*m.loss, one_pair(), one_token_each(logp), one_token_each(log_ref));
}

/// Its weights by autograd; for losses of pairs of log π by gradient_weights.
Pair<double> by_autograd(const Member& m, const Point& x) {
  const Tensor& at = m.of == Of::policy ? x.logp : x.reward;
  if (const auto* pair = dynamic_cast<const PairLoss*>(m.loss.get()); pair && m.of != Of::optimum) {
    const auto split = [](const Tensor& t) {
      return Pair<Tensor>{t.slice(0, 0, 1), t.slice(0, 1, 2)};
    };
    const Tensor one = at::ones({1}, at::kDouble);
    PairInputs inputs{.logps = split(at), .mean_logps = split(at), .length = {one, one}};
    inputs.ref_logps = inputs.ref_mean_logps = split(x.log_ref);
    const auto w = gradient_weights(*pair, inputs);
    return {w.chosen.item<double>(), w.rejected.item<double>()};
  }
  const Tensor leaf = at.detach().requires_grad_(true);
  const Tensor g = gradient(loss_of(m, leaf, x.log_ref), leaf);
  return {-g[0].item<double>(), g[1].item<double>()};
}

double apart(const Pair<double>& a, const Pair<double>& b) {
  return std::max(std::abs(a.chosen - b.chosen), std::abs(a.rejected - b.rejected));
}

/// −∇J as a sum over pairs of answers: each pushes with π_w π_l (q_w − q_l), where
/// q = R − β log(π/π_ref).
double policy_gradient_weight(const Point& x) {
  const double q = x.reward_margin() - kBeta * x.ratio_margin();
  return (x.logp[0] + x.logp[1]).exp().item<double>() * q;
}

/// How far −∇J in the parameters of log π lies from that sum over all pairs.
double policy_gradient_error(const Tensor& logp, const Tensor& parameters, const Point& x) {
  const KlObjective j{x.log_ref, x.reward, kBeta};
  const Tensor score = jacobian(logp, parameters);
  Tensor sum = at::zeros_like(parameters);
  for (int64_t w = 0; w < logp.numel(); ++w)
    for (int64_t l = w + 1; l < logp.numel(); ++l) {
      const Tensor pick = at::tensor(std::vector<int64_t>{w, l}, at::kLong);
      const Point pair{x.logp.index_select(0, pick), x.log_ref.index_select(0, pick),
                       x.reward.index_select(0, pick)};
      sum = sum - policy_gradient_weight(pair) * (score[w] - score[l]);
    }
  return deviation(gradient(-j.value(logp), parameters), sum);
}

/// A policy that gives the pair half of the mass and a log-ratio margin Δ, an even reference, the
/// reward that the policy is the optimum of.
Point grid_point(double margin) {
  const Tensor logp = numbers({0.5 * sigmoid(margin), 0.5 * sigmoid(-margin), 0.5}).log();
  const Tensor log_ref = at::full({3}, -std::log(3.0), at::kDouble);
  return {logp, log_ref, kBeta * (logp - log_ref)};
}

}  // namespace

Findings weights(const ExperimentOptions& options) {
  constexpr int64_t S = 5;
  const uint64_t seed = 100 * options.seed;
  // Policy and reward are smooth functions of few parameters, so that nothing hangs on free logits.
  const SmoothTable logits(S, seed), reward(S, seed + 1);
  const Tensor logp = log_policy(logits.value);
  const Point random{logp.detach(), log_policy(normal({S}, seed + 2)), reward.value.detach()};
  Findings found;
  Table table{
      "Weights on a random problem",
      {"loss", "c_w, c_l", "c_w", "c_l", "off by"},
      {},
      cat("Five answers, \u03b2 = \u03c4 = ", kBeta,
          ", \u03b4 = \u03b1 = 1; L = log \u03c0, u = L \u2212 log \u03c0_ref. "
          "Off by: the largest difference between closed form, autograd, and the gradient in "
          "the policy's (or reward's) own four parameters.")};
  double worst_error = 0;
  const auto row = [&](const std::string& name, const std::string& key, const std::string& formula,
                       const Pair<double>& c, double error) {
    table.rows.push_back(
        {name, formula, fixed(c.chosen, 4), fixed(c.rejected, 4), residual(error)});
    found.figures["random"][key] = {{"chosen", c.chosen}, {"rejected", c.rejected}, {"off", error}};
    worst_error = std::max(worst_error, error);
  };
  for (const Member& m : members()) {
    const auto closed = m.closed_form(random);
    const SmoothTable& of = m.of == Of::policy ? logits : reward;
    const Tensor x = m.of == Of::policy ? logp : reward.value;
    const Tensor score = jacobian(x, of.theta);
    const Tensor want = -closed.chosen * score[0] + closed.rejected * score[1];
    const double error =
        std::max(apart(closed, by_autograd(m, random)),
                 deviation(gradient(loss_of(m, x, random.log_ref), of.theta), want));
    row(m.name, m.key, m.formula, closed, error);
  }
  const double pushed_at = policy_gradient_weight(random);
  row("RLHF, policy gradient", "policy_gradient",
      "\u03c0_w \u03c0_l (R_w \u2212 R_l \u2212 \u03b2 (u_w \u2212 u_l))", {pushed_at, pushed_at},
      policy_gradient_error(logp, logits.theta, random));
  found.tables.push_back(table);

  Table grid{
      "Weights by the margin \u03b2\u0394",
      {"\u03b2\u0394"},
      {},
      "\u0394 = L_w \u2212 L_l = u_w \u2212 u_l: the reference is even and the pair holds half of "
      "the mass. "
      "The reward is the one that the policy is the optimum of, but for the policy gradient, "
      "where R_w \u2212 R_l = 1. Unlikelihood: c_l; its c_w is 1."};
  LineChart logistic{"c_w = c_l, in units of its value at \u0394 = 0", {}, "", "\u03b2\u0394"};
  LineChart other{"c_l, in units of its value at \u0394 = 0",
                  {},
                  "Of unlikelihood c_w is 1 everywhere.",
                  "\u03b2\u0394"};
  logistic.smooth = other.smooth = false;
  const auto at_margin = [&](const Member& m, double margin) {
    const Point x = grid_point(margin / kBeta);
    const auto closed = m.closed_form(x);
    worst_error = std::max(worst_error, apart(closed, by_autograd(m, x)));
    return closed.rejected;
  };
  const auto pushed = [&](double margin) {
    Point x = grid_point(margin / kBeta);
    x.reward = numbers({1, 0, 0.5});
    const Tensor theta = x.logp.detach().requires_grad_(true);
    worst_error = std::max(worst_error, policy_gradient_error(log_policy(theta), theta, x));
    return policy_gradient_weight(x);
  };
  std::vector<std::pair<std::string, std::function<double(double)>>> columns;
  for (const Member& m : members())
    columns.emplace_back(m.name, [m, at_margin](double margin) { return at_margin(m, margin); });
  columns.emplace_back("RLHF, policy gradient", pushed);
  for (const auto& [name, weight] : columns) grid.columns.push_back(name);
  for (const double margin : {-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0}) {
    std::vector<std::string> cells{fixed(margin, 0)};
    for (const auto& [name, weight] : columns) cells.push_back(fixed(weight(margin), 4));
    grid.rows.push_back(cells);
  }
  found.tables.push_back(grid);
  const int half = options.quick ? 13 : 41;  // none of them at the kink of SLiC
  for (const auto& [name, weight] : columns) {
    Series series{name, {}, {}};
    const double unit = weight(0);
    for (int i = -half; i <= half; ++i) {
      series.x.push_back(2.0 * i / half);
      series.y.push_back(weight(series.x.back()) / unit);
    }
    found.figures["margins"]["beta_delta"] = series.x;
    found.figures["margins"][name] = series.y;
    const bool alone = name.find("unlikelihood") == 0 || name == "RLHF, policy gradient";
    if (alone || name == "DPO") {
      other.series.push_back(series);
      other.series.back().color = static_cast<int>(other.series.size()) - 1;
    }
    if (!alone) {
      logistic.series.push_back(series);
      logistic.series.back().color = static_cast<int>(logistic.series.size()) - 1;
    }
  }
  found.charts = {logistic, other};
  found.figures["largest_error"] = worst_error;
  found.answer = cat(
      "All of them push the chosen answer up and the rejected one down with weights that closed "
      "forms "
      "and autograd agree on (",
      residual(worst_error),
      "). They differ in the margin that the weight "
      "reads: rewards, log-ratios (DPO, IPO) or log-probs (SLiC, generative), and in whether it "
      "fades (logistic), stops (SLiC), turns round (IPO) or ignores the margin (c_w of "
      "unlikelihood). "
      "The policy gradient is the same sum over all pairs, not only those that were labelled.");
  return found;
}

}  // namespace luce::family
