// Two-level losses: a reward whose policy is the optimum for it, exactly or after a few steps of
// reinforcement learning; three answers, of which the third is never seen.
//   π*(R) ∝ π_ref e^{R/β}
//   regularised generative    −log σ(log π*_w − log π*_l)
//   inverse RL                −log π*(y) of demonstrations y
#include <ATen/ATen.h>

#include <cmath>
#include <functional>

#include "experiment/one_family.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/data/chart.h"
#include "luce/loss/dpo.h"
#include "luce/loss/generative.h"
#include "luce/loss/kl.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::family {

using namespace oracle;

namespace {

constexpr double kBeta = 0.5, kOuterStep = 0.5, kInnerStep = 0.5;

/// Answer 1 is preferred to answer 2 in 80% of the pairs; demonstrations are the chosen answers.
struct Data {
  Tensor log_ref = numbers({0.5, 0.3, 0.2}).log();
  PairPopulation pairs{{0, 1}, {1, 0}, numbers({0.8, 0.2})};
  Tensor demonstrations = numbers({0.8, 0.2, 0});

  Tensor optimum(const Tensor& reward) const {
    return KlObjective{log_ref, reward, kBeta}.log_optimum();
  }
  Tensor generative(const Tensor& logp) const {
    return population_loss(Generative({.kl_weight = 0}), pairs, one_token_each(logp),
                           one_token_each(log_ref));
  }
};

/// A loss of three rewards, and the policy that belongs to them.
struct Method {
  std::string name, key;
  std::function<Tensor(const Tensor&)> loss;
};

std::vector<Method> methods(const Data& data) {
  return {
      {"Bradley\u2013Terry, then RL", "bradley_terry",
       [&](const Tensor& r) { return -data.pairs.mean(at::log_sigmoid(data.pairs.margin(r))); }},
      // Free logits θ of the policy, as the rewards β (θ − log π_ref) that they stand for.
      {"DPO", "dpo",
       [&](const Tensor& r) {
         return population_loss(Dpo({.beta = kBeta}), data.pairs,
                                one_token_each(log_policy(data.log_ref + r / kBeta)),
                                one_token_each(data.log_ref));
       }},
      {"regularised generative", "regularised_generative",
       [&](const Tensor& r) { return data.generative(data.optimum(r)); }},
      {"inverse RL", "inverse_rl",
       [&](const Tensor& r) { return -data.demonstrations.dot(data.optimum(r)); }}};
}

/// ∂loss/∂R with the policy that the inner loop has reached in place of π*(R):
///   regularised generative  −(1/β) E[σ(log π_l − log π_w) (e_w − e_l)]
///   inverse RL              −(1/β) (demonstrations − π)
Tensor outer_gradient(const Data& data, bool inverse_rl, const Tensor& logp) {
  if (inverse_rl) return (logp.exp() - data.demonstrations) / kBeta;
  const Tensor leaf = logp.detach().requires_grad_(true);
  return gradient(data.generative(leaf), leaf).detach() /
         kBeta;  // each e of the pair is one ∂log π
}

/// One step of the exact policy gradient ∇J = π (q − E_π q), q = R − β log(π/π_ref), on free
/// logits.
Tensor ascent(const Data& data, const Tensor& reward, const Tensor& logp) {
  const Tensor p = logp.exp(), q = reward - kBeta * (logp - data.log_ref);
  return log_policy(logp + kInnerStep * p * (q - (p * q).sum()));
}

/// Outer steps on the reward; before each, so many inner steps of the policy, or none: the exact
/// π*.
struct Loop {
  Tensor reward, logp;      // at the end
  std::vector<double> gap;  // KL(π ‖ π*(R)) after every outer step's inner loop
};

Loop two_loops(const Data& data, bool inverse_rl, int inner, bool restart, int outer) {
  Loop loop{at::zeros({3}, at::kDouble), data.log_ref, {}};
  for (int step = 0; step <= outer; ++step) {
    if (restart) loop.logp = data.log_ref;
    for (int k = 0; k < inner; ++k) loop.logp = ascent(data, loop.reward, loop.logp);
    const Tensor best = data.optimum(loop.reward);
    if (inner == 0) loop.logp = best;
    loop.gap.push_back(exact_kl(loop.logp, best).item<double>());
    if (step < outer)
      loop.reward = loop.reward - kOuterStep * outer_gradient(data, inverse_rl, loop.logp);
  }
  return loop;
}

std::string rewards(const Tensor& r) {
  std::string text;
  for (const double x : numbers_of(r)) text += (text.empty() ? "" : " ") + fixed(x);
  return text;
}

/// Where rewards end, and what an unseen answer gets.
void unseen(const Data& data, int steps, Findings& found) {
  Table table{
      cat("An answer that nobody has seen, after ", steps, " steps"),
      {"loss", "\u2202loss/\u2202R_3 at the start", "R", "\u03c0*(R)", "R_3 still moves by"},
      {},
      "Three answers, \u03c0_ref = (0.5, 0.3, 0.2), \u03b2 = 0.5, R = 0 at the start, steps of "
      "0.5. "
      "1 \u227b 2 in 80% of the pairs, 3 is in none; demonstrations: the chosen answers. Of DPO "
      "the "
      "rewards \u03b2 log(\u03c0/\u03c0_ref) are meant, up to a constant."};
  LineChart chart{"The reward of the unseen answer", {}, "R_3 by step; all begin at R = 0", "step"};
  chart.smooth = false;
  for (const Method& m : methods(data)) {
    const auto slope = [&](const Tensor& r) {
      const Tensor leaf = r.detach().requires_grad_(true);
      return gradient(m.loss(leaf), leaf).detach();
    };
    Tensor r = at::zeros({3}, at::kDouble);
    const double first = slope(r)[2].item<double>();
    const double predicted = data.optimum(r)[2].exp().item<double>() / kBeta;  // of inverse RL
    Series series{m.name, {}, {}, static_cast<int>(chart.series.size())};
    double largest_move = 0;
    for (int step = 0; step <= steps; ++step) {
      series.x.push_back(step);
      series.y.push_back(r[2].item<double>());
      if (step == steps) break;
      const Tensor g = slope(r);
      largest_move = std::max(largest_move, std::abs(g[2].item<double>()));
      r = r - kOuterStep * g;
    }
    const Tensor last = slope(r);
    const std::string cell = largest_move == 0 ? "0" : format_number(last[2].item<double>(), 3);
    table.rows.push_back(
        {m.name, first == 0 ? "0" : fixed(first, 3), rewards(r), shares(data.optimum(r)), cell});
    found.figures["unseen"][m.key] = {
        {"slope_at_start", first},       {"optimum_over_beta_at_start", predicted},
        {"largest_slope", largest_move}, {"slope_at_end", last[2].item<double>()},
        {"rewards", numbers_of(r)},      {"policy", numbers_of(data.optimum(r).exp())},
        {"reward_of_unseen", series.y}};
    chart.series.push_back(std::move(series));
  }
  found.tables.push_back(table);
  found.charts.push_back(chart);
}

}  // namespace

Findings two_levels(const ExperimentOptions& options) {
  const Data data;
  const int outer = options.quick ? 200 : 1000;
  Findings found;
  unseen(data, outer, found);
  for (const bool inverse_rl : {false, true}) {
    const std::string name = inverse_rl ? "inverse RL" : "regularised generative";
    Table table{
        cat("Two loops, ", name, ": inner steps for each of ", outer, " outer ones"),
        {"inner steps", "inner loop begins", "R", "\u03c0 of the inner loop", "\u03c0*(R)",
         "KL(\u03c0 \u2016 \u03c0*(R))"},
        {},
        "Inner: exact policy gradient on J, steps of 0.5 on free logits, from where the last "
        "inner loop ended or from \u03c0_ref. Outer: the loss's gradient in R with \u03c0 in place "
        "of \u03c0*(R)."};
    LineChart chart{cat("How far the inner loop is from its optimum: ", name),
                    {},
                    "KL(\u03c0 \u2016 \u03c0*(R))",
                    "outer step"};
    chart.smooth = false;
    chart.log_y = true;
    for (const bool restart : {false, true})
      for (const int inner : {1, 4, 16, 64}) {
        const Loop loop = two_loops(data, inverse_rl, inner, restart, outer);
        const std::string begins = restart ? "at \u03c0_ref" : "where it ended";
        table.rows.push_back({std::to_string(inner), begins, rewards(loop.reward),
                              shares(loop.logp), shares(data.optimum(loop.reward)),
                              loop.gap.back() < 1e-12 ? residual(loop.gap.back())
                                                      : format_number(loop.gap.back(), 2)});
        found.figures[inverse_rl ? "inverse_rl" : "regularised_generative"]
                     [restart ? "restarted" : "continued"][std::to_string(inner)] = {
            {"rewards", numbers_of(loop.reward)},
            {"policy", numbers_of(loop.logp.exp())},
            {"optimum", numbers_of(data.optimum(loop.reward).exp())},
            {"kl", loop.gap.back()}};
        if (inner != 1 && inner != 16) continue;
        Series series{cat(inner, restart ? ", from \u03c0_ref" : ", continued"),
                      {},
                      loop.gap,
                      static_cast<int>(chart.series.size())};
        for (size_t i = 0; i < loop.gap.size(); ++i) series.x.push_back(static_cast<double>(i));
        chart.series.push_back(std::move(series));
      }
    const Loop exact = two_loops(data, inverse_rl, 0, false, outer);
    table.rows.push_back({"exact optimum", "\u2013", rewards(exact.reward), shares(exact.logp),
                          shares(data.optimum(exact.reward)), "0"});
    found.figures[inverse_rl ? "inverse_rl" : "regularised_generative"]["exact"] = {
        {"rewards", numbers_of(exact.reward)}, {"policy", numbers_of(exact.logp.exp())}};
    found.tables.push_back(table);
    found.charts.push_back(chart);
  }
  const auto& u = found.figures["unseen"];
  const auto one_step = [&](const char* loss, const char* begins, size_t answer) {
    return fixed(found.figures[loss][begins]["1"]["rewards"][answer].get<double>(), 2);
  };
  const auto exact = [&](const char* loss, size_t answer) {
    return fixed(found.figures[loss]["exact"]["rewards"][answer].get<double>(), 2);
  };
  found.answer = cat(
      "Comparisons are silent about an answer they do not hold: under Bradley\u2013Terry, DPO and "
      "regularised "
      "generative modelling its reward stays where it was, to the last bit. Inverse RL moves it by "
      "\u03c0*(y\u2083)/\u03b2 = ",
      fixed(u["inverse_rl"]["slope_at_start"].get<double>(), 1),
      " in the first step and never stops: \u03c0* of the unseen answer is ",
      fixed(u["inverse_rl"]["policy"][2].get<double>(), 4), " after ", outer,
      " steps. With inner loops that go on from where they ended, one step before each outer one "
      "is "
      "enough for regularised generative modelling (R_1 = ",
      one_step("regularised_generative", "continued", 0), ", exactly ",
      exact("regularised_generative", 0), "); under inverse RL the lag stays in the reward (R_3 = ",
      one_step("inverse_rl", "continued", 2), ", exactly ", exact("inverse_rl", 2),
      "). Where the inner loop begins at \u03c0_ref each time, the reward makes up for the steps "
      "that are "
      "missing: R_1 = ",
      one_step("regularised_generative", "restarted", 0),
      ", and its own optimum is another policy.");
  return found;
}

}  // namespace luce::family
