// Where the mass goes that DPO (Rafailov et al., arXiv:2305.18290) takes from the rejected answer.
// Three answers: y₁ is preferred to y₂, y₃ is never seen.
//   L(u) = −log σ(β u)      u = log π(y₁)/π(y₂) − log π_ref(y₁)/π_ref(y₂)
// The loss knows the gap u alone. What else moves with it is up to the parameters: logits of their
// own, log π_ref + u (½, −½, 0), or shared features, log π_ref + u (1, 0, 2).
#include <ATen/ATen.h>

#include <cmath>

#include "experiment/coupled_path.h"
#include "experiment/experiments.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/sft.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

using namespace experiment;
using oracle::KlObjective, oracle::minimise, oracle::numbers, oracle::PairPopulation;

/// DPO with a logit for each answer, to where its gradient is too small to see.
Table free_table(Json& figures) {
  Table table{"A free logit for each answer: where DPO ends",
              {"β", "π_ref(y3)", "π(y1)", "π(y2)", "π(y3)", "loss"},
              {},
              "Newton's method from the reference until the gradient is below 1e-12, which for a "
              "large β is early: there is no minimum but (1, 0, 0). The gradient on the logit of "
              "y3 is 0 throughout."};
  for (const auto& [beta, epsilon] :
       {std::pair{0.1, 1e-2}, {0.1, 1e-6}, {0.1, 1e-12}, {1.0, 1e-6}, {10.0, 1e-6}}) {
    const Tensor log_ref = reference(epsilon);
    const Dpo dpo({.beta = beta});
    const auto end = oracle::fitted_policy(dpo, oracle::one_pair(), log_ref);
    const Tensor theta = end.x.detach().requires_grad_(true), p = end.x.exp();
    const Tensor loss = oracle::population_loss(dpo, oracle::one_pair(),
                                                oracle::one_token_each(theta.log_softmax(0)),
                                                oracle::one_token_each(log_ref));
    std::vector<double> shown{beta, epsilon};
    for (int y = 0; y < 3; ++y) shown.push_back(p[y].item<double>());
    shown.push_back(end.value);
    table.rows.push_back(row(number(beta), {shown.begin() + 1, shown.end()}));
    figures.push_back({{"beta", beta},
                       {"epsilon", epsilon},
                       {"policy", {shown[2], shown[3], shown[4]}},
                       {"loss", end.value},
                       {"gradient_on_y3", oracle::gradient(loss, theta)[2].item<double>()}});
  }
  return table;
}

/// Steps of gradient descent with rate 1 on u until it has passed each of the marks, which rise.
std::vector<double> steps_to(const std::vector<double>& marks) {
  const Path path = coupled_path();
  const Dpo dpo({.beta = kBeta});
  std::vector<double> steps;
  double u = 0;
  int step = 0;
  for (const double mark : marks) {
    for (; u < mark; ++step) u -= path.slope(dpo, u);
    steps.push_back(step);
  }
  return steps;
}

Table coupled_table(const Landmarks& mark, Json& figures) {
  const Path coupled = coupled_path(), free = free_path();
  const Dpo dpo({.beta = kBeta});
  Table table{
      "Coupled logits: DPO's path",
      {"u", "steps", "π(y1)", "π(y2)", "π(y3)", "loss", "slope", "π(y3), free logits"},
      {},
      "One parameter u, logits log π_ref + u (1, 0, 2), β = 0.1, π_ref(y3) = 1e-6, gradient "
      "descent with rate 1. The slope is negative everywhere: descent only ever raises u. "
      "Last column: a free table at the same u has the same loss."};
  const std::vector<double> places{0, 3, mark.peak, 10, mark.half, mark.nine, 20};
  const std::vector<double> steps = steps_to(places);
  for (size_t i = 0; i < places.size(); ++i) {
    const double u = places[i];
    std::vector<double> shown{steps[i]};
    for (int y = 0; y < 3; ++y) shown.push_back(coupled.probability(u, y));
    shown.insert(shown.end(),
                 {coupled.value(dpo, u), coupled.slope(dpo, u), free.probability(u, 2)});
    table.rows.push_back(row(number(u, 6), shown, 5));
    figures.push_back({{"u", u},
                       {"steps", steps[i]},
                       {"policy", {shown[1], shown[2], shown[3]}},
                       {"loss", shown[4]},
                       {"slope", shown[5]},
                       {"free_y3", shown[6]}});
  }
  return table;
}

/// Bradley–Terry rewards features · w fitted to labels that say y₁ ≻ y₂ with probability p.
Tensor fitted_reward(const Tensor& features, double p) {
  const PairPopulation pairs = labels(p);
  const auto loss = [&](const Tensor& w) {
    return pairs.mean(-at::log_sigmoid(pairs.margin(features.matmul(w))));
  };
  const Tensor w = minimise(loss, at::zeros({features.size(1)}, at::kDouble)).x;
  return features.matmul(w);
}

/// What the unseen answer's reward, over β, must be in a table (Δ/2, −Δ/2, c) for π(y₃) = ½.
double unseen_start(double ratio) {
  return root(
      [&](double c) {
        const Tensor reward = numbers({ratio / 2, -ratio / 2, c});
        return KlObjective{reference(), reward, 1}.log_optimum()[2].exp().item<double>() - 0.5;
      },
      0, 100);
}

Table reward_table(Json& figures) {
  const Path path = coupled_path();
  Table table{
      "A reward model, then reinforcement learning",
      {"p", "Δ/β", "π(y3), linear reward", "π(y3), DPO on coupled logits", "π(y3), reward table"},
      {},
      cat("Labels say y1 > y2 with probability p. Bradley–Terry fits a reward gap Δ = logit p: "
          "with one weight on the features (1, 0, 2), or with an entry for each answer, from "
          "0. Then the exact optimum of E[R] − β KL(π ‖ π_ref), β = 0.1. The entry of y3 is "
          "never corrected: started above ",
          number(kBeta * unseen_start(10)), " it would win at Δ/β = 10, in a table too.")};
  for (const double ratio : {1.0, 5.0, 10.0, 15.0, 20.0}) {
    const double p = 1 / (1 + std::exp(-ratio * kBeta));
    const auto third = [&](const Tensor& features) {
      return KlObjective{path.log_ref, fitted_reward(features, p), kBeta}.log_optimum()[2].exp();
    };
    const double linear = third(path.direction.unsqueeze(1)).item<double>(),
                 tabular = third(at::eye(3, at::kDouble)).item<double>(),
                 dpo = path.probability(path.lowest(Dpo({.beta = kBeta}), labels(p)), 2);
    table.rows.push_back(row(number(p), {ratio, linear, dpo, tabular}));
    figures.push_back({{"p", p},
                       {"ratio", ratio},
                       {"linear", linear},
                       {"dpo", dpo},
                       {"table", tabular},
                       {"unseen_start", unseen_start(ratio)}});
  }
  return table;
}

/// From how sure labels on a linear reward gives the unseen answer more than half.
Table threshold_table(Json& figures) {
  Table table{
      "How noisy labels must be to keep π(y3) below 1/2",
      {"β", "π_ref(y3) = 1e-3", "1e-6", "1e-9"},
      {},
      "The share 1 − p of labels that must say y2 > y1, or else the optimum under the linear "
      "reward, and DPO's on coupled logits, gives the unseen answer more than half."};
  for (const double beta : {0.01, 0.1, 1.0}) {
    std::vector<double> shown;
    for (const double epsilon : {1e-3, 1e-6, 1e-9}) {
      Path path = coupled_path();
      path.log_ref = reference(epsilon);
      const double ratio = Landmarks(path).half, noise = 1 / (1 + std::exp(beta * ratio));
      shown.push_back(noise);
      figures.push_back({{"beta", beta}, {"epsilon", epsilon}, {"ratio", ratio}, {"noise", noise}});
    }
    table.rows.push_back(row(number(beta), shown));
  }
  return table;
}

Table remedies(const Landmarks& mark, Json& figures) {
  const Path path = coupled_path();
  const Dpo dpo({.beta = kBeta});
  // The strengths that put the minimum where π(y₃) = ½.
  const double smoothing = 1 / (1 + std::exp(kBeta * mark.half)), tau = 1 / (2 * mark.half),
               alpha = -path.slope(dpo, mark.half) / path.slope(Sft(), mark.half);
  figures["thresholds"] = {
      {"label_smoothing", smoothing}, {"ipo_beta", tau}, {"sft_weight", alpha}};
  Table table{"Losses with a minimum on the coupled path",
              {"loss", "u", "π(y1)", "π(y2)", "π(y3)"},
              {},
              cat("DPO has none. Where each of these stops; dpo has β = 0.1. The mass stays off y3 "
                  "(π(y3) < 1/2) for a label_smoothing above ",
                  number(smoothing), ", a beta of ipo above ", number(tau),
                  ", a weight of sft above ", number(alpha), ".")};
  for (const auto& [name, loss] : candidates()) {
    const double u = path.lowest(*loss);
    std::vector<double> shown{u};
    for (int y = 0; y < 3; ++y) shown.push_back(path.probability(u, y));
    table.rows.push_back(row(name, shown));
    figures["minima"].push_back(
        {{"loss", name}, {"u", u}, {"policy", {shown[1], shown[2], shown[3]}}});
  }
  return table;
}

std::vector<LineChart> charts(bool quick) {
  const Path coupled = coupled_path(), free = free_path();
  const Dpo dpo({.beta = kBeta});
  const auto gentle = with_likelihood(0.01), strong = with_likelihood(0.1);
  LineChart mass{
      "The three probabilities on DPO's path",
      {{"y1, preferred", {}, {}, 0}, {"y2, rejected", {}, {}, 1}, {"y3, never seen", {}, {}, 2}},
      "Coupled logits. Descent moves to the right.",
      "u"};
  LineChart loss{
      "What descent sees",
      {{"dpo", {}, {}, 0}, {"dpo + 0.01 sft", {}, {}, 1}, {"dpo + 0.1 sft", {}, {}, 2}},
      "DPO's loss falls on while y3 takes the mass; a likelihood term gives it a minimum.",
      "u"};
  LineChart third{"The unseen answer at the same loss",
                  {{"coupled logits", {}, {}, 2}, {"free logits", {}, {}, 3}},
                  "π(y3) for both parametrisations where the gap, and so DPO's loss, is the same.",
                  "u"};
  third.log_y = true;
  for (LineChart* chart : {&mass, &loss, &third}) chart->smooth = false;
  mass.low = loss.low = 0;
  for (double u = 0; u <= 25; u += quick ? 0.5 : 0.1) {
    const auto add = [&](LineChart& chart, size_t series, double y) {
      chart.series[series].x.push_back(u);
      chart.series[series].y.push_back(y);
    };
    for (int y = 0; y < 3; ++y) add(mass, static_cast<size_t>(y), coupled.probability(u, y));
    add(loss, 0, coupled.value(dpo, u));
    add(loss, 1, coupled.value(*gentle, u));
    add(loss, 2, coupled.value(*strong, u));
    add(third, 0, coupled.probability(u, 2));
    add(third, 1, free.probability(u, 2));
  }
  return {mass, loss, third};
}

Findings run(const ExperimentOptions& options) {
  const Path path = coupled_path();
  const Landmarks mark(path);
  const Dpo dpo({.beta = kBeta});
  Findings found;
  Json& f = found.figures;
  f["landmarks"] = {{"peak", mark.peak},
                    {"peak_y1", path.probability(mark.peak, 0)},
                    {"half", mark.half},
                    {"nine", mark.nine},
                    {"nine_loss", path.value(dpo, mark.nine)}};
  found.tables = {free_table(f["free"]), coupled_table(mark, f["coupled"]),
                  reward_table(f["reward"]), threshold_table(f["sureness"]),
                  remedies(mark, f["remedies"])};
  found.charts = charts(options.quick);
  f["charts"] = points(found.charts);
  const Json& stop = f["remedies"]["thresholds"];
  found.answer = cat(
      "With a free logit for each answer DPO heads for (1, 0, 0) whatever β is, and its gradient "
      "never touches the unseen answer. With coupled logits the same loss first raises π(y1) to ",
      number(f["landmarks"]["peak_y1"], 5), " at u = ", number(mark.peak, 5),
      " and then gives the mass away: at u = ", number(mark.nine, 6), " the policy is (0.1, ",
      number(path.probability(mark.nine, 1), 2), ", 0.9), the loss ",
      number(path.value(dpo, mark.nine), 5),
      " and still falling. This is no fault of DPO alone: a reward model with the same features, "
      "followed by exact reinforcement learning, gives the same policy, with more than half on "
      "the unseen answer once Δ/β exceeds ",
      number(mark.half, 5), "; at β = 0.1 labels that are right with probability ",
      number(1 / (1 + std::exp(-kBeta * mark.half)), 3),
      " are enough. A table of rewards in which the unseen answer keeps its 0 does not fail. A "
      "minimum before that "
      "point needs a strong enough brake: ipo with a beta above ",
      number(stop["ipo_beta"], 3), ", label smoothing above ", number(stop["label_smoothing"], 3),
      ", or a likelihood term of weight above ", number(stop["sft_weight"], 3), ".");
  return found;
}

}  // namespace

Experiment three_actions() {
  return {"three-actions", "Three actions: where DPO's mass goes",
          "Of three answers the first is always preferred to the second, and the third is never "
          "seen. Which of them gets the mass?",
          run};
}

}  // namespace luce
