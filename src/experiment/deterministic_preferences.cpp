// Where one answer always wins: DPO (Rafailov et al., arXiv:2305.18290), IPO and ΨPO (Azar et al.,
// arXiv:2310.12036), and a reward model with reinforcement learning, on two answers. Letters:
//   u = log π(y₁)/π(y₂), from a uniform reference: π(y₂) = σ(−u)
//   p = P(y₁ ≻ y₂)     D(Ψ) = (Ψ(p) − Ψ(1 − p)) / (2τ), where ΨPO's optimum has u
#include <ATen/ATen.h>

#include <cmath>
#include <functional>

#include "experiment/experiments.h"
#include "experiment/pair_descent.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/psi.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

using namespace experiment;
using oracle::minimise, oracle::numbers, oracle::PairPopulation;

double logit(double p) { return std::log(p / (1 - p)); }

Tensor even() { return numbers({0.5, 0.5}).log(); }
PairPopulation labels(double p) {
  return p == 1 ? oracle::one_pair() : PairPopulation{{0, 1}, {1, 0}, numbers({p, 1 - p})};
}

/// π(y₂) of the policy that minimises the loss over infinitely many labels.
double rejected(const SequenceLoss& loss, double p) {
  return oracle::fitted_policy(loss, labels(p), even()).x[1].exp().item<double>();
}

Table descent_table(Json& figures) {
  Table table{
      "π(y2) in the course of descent",
      {"method", "100 steps", "1,000", "10,000", "100,000"},
      {},
      "p = 1, uniform reference, gradient descent with rate 0.1: on the policy's logits, or "
      "on the two rewards, whose exact optimum under the KL penalty is then shown."};
  double off = 0;
  for (const PairDescent& method : pair_descents(off)) {
    const std::vector<double> left = method.rejected({100, 1000, 10000, 100000});
    table.rows.push_back(row(method.name, left, 6));
    figures["methods"].push_back({{"method", method.name}, {"y2", left}});
  }
  figures["largest_gradient_difference"] = off;
  return table;
}

/// The gap of rewards (r, −r)/2 under −log σ(Δ) + λ Σ r².
double penalised_gap(double lambda) {
  const PairPopulation pairs = labels(1);
  return (minimise(
              [&](const Tensor& r) {
                return pairs.mean(-at::log_sigmoid(pairs.margin(r))) + lambda * r.square().sum();
              },
              numbers({0, 0}))
              .x *
          numbers({1, -1}))
      .sum()
      .item<double>();
}

/// What gives the gap an end where labels never disagree.
Table stops(Json& figures) {
  Table table{"π(y2) where the method has a minimum at p = 1",
              {"method", "β or τ = 0.1", "1", "10"},
              {},
              "Label smoothing ε gives the gap logit(1 − ε)/β, a penalty λ Σ r² on the rewards the "
              "Δ with σ(−Δ) = λ Δ, divided by β; IPO stops at 1/(2τ)."};
  const auto add = [&](const std::string& name, const std::function<double(double)>& y2) {
    const std::vector<double> at{y2(0.1), y2(1), y2(10)};
    table.rows.push_back(row(name, at));
    figures.push_back({{"method", name}, {"y2", at}});
  };
  for (const double smoothing : {0.01, 0.1})
    add(cat("dpo, label_smoothing ", number(smoothing)), [&](double beta) {
      return rejected(Dpo({.beta = beta, .label_smoothing = smoothing}), 1);
    });
  for (const double lambda : {0.01, 0.1})
    add(cat("reward model with λ = ", number(lambda), " + RL"),
        [&](double beta) { return sigmoid(-penalised_gap(lambda) / beta); });
  add("ipo", [&](double tau) { return rejected(ipo(tau), 1); });
  return table;
}

Table noisy_labels(Json& figures) {
  Table table{"π(y2) at the minimum where labels are noisy",
              {"p", "dpo, β = 0.1", "ipo, τ = 0.1", "dpo, β = 1", "ipo, τ = 1"},
              {},
              "Infinitely many labels. DPO has the gap logit(p)/β, that of a reward model followed "
              "by RL; IPO (2p − 1)/(2τ)."};
  for (const double p : {0.6, 0.9, 0.99, 0.999}) {
    std::vector<double> at;
    for (const double strength : {0.1, 1.0}) {
      at.push_back(rejected(Dpo({.beta = strength}), p));
      at.push_back(rejected(ipo(strength), p));
    }
    table.rows.push_back(row(number(p), at));
    figures.push_back({{"p", p}, {"y2", at}});
  }
  return table;
}

/// Of n labels k say y₁ ≻ y₂, k binomial, and each loss is at its minimum for the share k/n. Sums
/// over k are exact.
struct Sample {
  double unanimous = 0;     // P(k = 0 or k = n)
  double dpo = 0, ipo = 0;  // root mean square of π(y₂) less its value for infinitely many labels

  Sample(int n, double p) {
    const auto dpo_y2 = [](double q) { return q == 0 ? 1 : q == 1 ? 0 : sigmoid(-logit(q)); };
    const auto ipo_y2 = [](double q) { return sigmoid(-(2 * q - 1) / 2); };
    for (int k = 0; k <= n; ++k) {
      const double ways =
                       std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1)),
                   share = ways * std::pow(p, k) * std::pow(1 - p, n - k);
      const double q = static_cast<double>(k) / n;
      if (k == 0 || k == n) unanimous += share;
      dpo += share * std::pow(dpo_y2(q) - dpo_y2(p), 2);
      ipo += share * std::pow(ipo_y2(q) - ipo_y2(p), 2);
    }
    dpo = std::sqrt(dpo);
    ipo = std::sqrt(ipo);
  }
};

Table finite_samples(Json& figures) {
  Table table{"Finite samples: how often labels agree by chance",
              {"p", "n", "P(all agree)", "error of π(y2), dpo", "error of π(y2), ipo"},
              {},
              "n labels for the pair; each loss at its minimum, β = τ = 1. The error is the root "
              "mean square distance of π(y2) to its value for infinitely many labels. Where all "
              "agree DPO's infimum counts, which leaves nothing to one of the answers."};
  for (const double p : {0.9, 0.99})
    for (const int n : {1, 10, 100}) {
      const Sample s(n, p);
      table.rows.push_back(row(number(p), {static_cast<double>(n), s.unanimous, s.dpo, s.ipo}));
      figures.push_back(
          {{"p", p}, {"n", n}, {"all_agree", s.unanimous}, {"dpo", s.dpo}, {"ipo", s.ipo}});
    }
  return table;
}

/// Ψ between the logit and the identity, of slope 1 at ½:
///   Ψ_c(q) = (½ + c)/2 · log((q + c)/(1 − q + c))      c → 0: ¼ logit q; c → ∞: q − ½
Tensor psi_between(const Tensor& q, double c) {
  return (0.5 + c) / 2 * at::log((q + c) / (1 - q + c));
}

/// u at the minimum of ΨPO's loss for a pair whose preference is known to be p.
double psi_gap(double c, double tau, double p) {
  const Psi loss([c](const Tensor& q) { return psi_between(q, c); }, tau);
  const Tensor zero = numbers({0});
  const auto value = [&](const Tensor& u) {
    Metrics metrics;
    PairInputs pair{.logps = {u, zero}, .mean_logps = {u, zero}};
    pair.ref_logps = pair.ref_mean_logps = Pair<Tensor>{zero, zero};
    pair.preference = numbers({p});
    return loss.values(pair, metrics).sum();
  };
  return minimise(value, numbers({0})).x.item<double>();
}

/// The same by ΨPO's optimum in closed form, μ uniform.
double psi_closed_form(double c, double tau, double p) {
  const Tensor table = numbers({0.5, p, 1 - p, 0.5}).view({2, 2});
  const auto psi = [c](const Tensor& q) { return psi_between(q, c); };
  const Tensor log_p = oracle::psi_optimum(even(), table, numbers({0.5, 0.5}), psi, tau);
  return (log_p[0] - log_p[1]).item<double>();
}

Table psi_table(Json& figures) {
  Table table{"General Ψ: π(y2) between the identity and the logit",
              {"c", "p = 0.9", "p = 0.99", "p = 0.999", "p = 1"},
              {},
              "Ψ(q) = (1/2 + c)/2 · log((q + c)/(1 − q + c)), of slope 1 at q = 1/2 for every c: "
              "q − 1/2 for large c (IPO), a quarter of the logit for c = 0 (DPO at β = 4τ). τ = "
              "0.1, p known."};
  double off = 0;
  for (const double c : {100.0, 1.0, 0.1, 0.01, 0.0001}) {
    std::vector<double> at;
    for (const double p : {0.9, 0.99, 0.999, 1.0}) {
      const double gap = psi_gap(c, 0.1, p);
      off = std::max(off, std::abs(gap - psi_closed_form(c, 0.1, p)));
      at.push_back(sigmoid(-gap));
    }
    table.rows.push_back(row(number(c), at));
    figures["family"].push_back({{"c", c}, {"y2", at}});
  }
  std::vector<double> at;
  for (const double p : {0.9, 0.99, 0.999}) at.push_back(rejected(Dpo({.beta = 0.4}), p));
  auto cells = row("0 (logit)", at);
  cells.push_back("0, no minimum");
  table.rows.push_back(cells);
  figures["logit"] = at;
  figures["largest_difference_to_closed_form"] = off;
  return table;
}

std::vector<LineChart> charts(bool quick) {
  LineChart course{"π(y2) in the course of descent", {}, "p = 1, rate 0.1.", "log10 of the step"};
  course.log_y = true;
  course.smooth = false;
  double off = 0;
  const auto methods = pair_descents(off);
  for (const size_t i : {size_t{0}, size_t{1}, size_t{2}, size_t{5}}) {
    Series line{methods[i].name, {}, {}, static_cast<int>(course.series.size())};
    double gap = 0, next = 1;
    for (int step = 1; step <= 100000; ++step) {
      gap = methods[i].step(gap);
      if (step < next) continue;
      line.x.push_back(std::log10(step));
      line.y.push_back(sigmoid(-gap));
      next *= quick ? 1.5 : 1.1;
    }
    course.series.push_back(line);
  }
  LineChart noise{"π(y2) at the minimum, by how sure labels are",
                  {},
                  "Infinitely many labels. DPO's lines fall to 0 at p = 1, IPO's do not.",
                  "p"};
  noise.log_y = true;
  noise.smooth = false;
  for (const double strength : {0.1, 1.0}) {
    Series dpo{cat("dpo, β = ", number(strength)), {}, {}, strength == 1 ? 2 : 0};
    Series with_ipo{cat("ipo, τ = ", number(strength)), {}, {}, strength == 1 ? 3 : 1};
    for (double p = 0.5; p < 0.9999; p += quick ? 0.05 : 0.01) {
      dpo.x.push_back(p);
      dpo.y.push_back(rejected(Dpo({.beta = strength}), p));
      with_ipo.x.push_back(p);
      with_ipo.y.push_back(rejected(ipo(strength), p));
    }
    noise.series.insert(noise.series.end(), {dpo, with_ipo});
  }
  return {course, noise};
}

Findings run(const ExperimentOptions& options) {
  Findings found;
  Json& f = found.figures;
  found.tables = {descent_table(f["descent"]), stops(f["stops"]), noisy_labels(f["noisy"]),
                  finite_samples(f["finite"]), psi_table(f["psi"])};
  found.charts = charts(options.quick);
  f["charts"] = points(found.charts);
  const auto last = [&](size_t method) {
    return number(f["descent"]["methods"][method]["y2"].back().get<double>(), 2);
  };
  const auto kept = [&](size_t method) {
    return number(1 - f["descent"]["methods"][method]["y2"].back().get<double>(), 6);
  };
  const Json& stop = f["stops"];
  found.answer = cat(
      "After 100,000 steps DPO leaves the loser with ", last(0), ", ", last(1), " and ", last(2),
      " for β = 0.1, 1 and 10: every β ends at 0, a larger one only later. IPO stops at π(y1) = ",
      kept(3), ", ", kept(4), " and ", kept(5),
      " for τ = 1, 0.5 and 0.1. A reward model fitted by maximum likelihood is no better, since "
      "its rewards drift apart for ever; what holds it is a penalty or the end of training. "
      "Label smoothing does bound DPO, but at logit(1 − ε)/β: with ε = 0.1 and β = 0.1 the "
      "loser keeps ",
      number(stop[1]["y2"][0].get<double>(), 2), ". Of 10 labels that are right with p = 0.9 ",
      number(100 * f["finite"][1]["all_agree"].get<double>(), 3),
      " % of samples agree by chance, and look deterministic to DPO. Between IPO and DPO it is "
      "Ψ near 1 that decides: where it is finite the gap stops, at (Ψ(1) − Ψ(0))/(2τ).");
  return found;
}

}  // namespace

Experiment deterministic_preferences() {
  return {"deterministic-preferences", "Deterministic preferences: who stops where",
          "One answer always wins. Which methods keep anything of the other, and how much?", run};
}

}  // namespace luce
