// One family: what losses of preferences do to a pair differs in two numbers,
//   ∇loss = −c_w ∇log π_w + c_l ∇log π_l.
#include "experiment/one_family.h"

#include <ATen/ATen.h>

#include <cmath>
#include <iterator>

#include "experiment/experiments.h"
#include "experiment/text.h"
#include "luce/loss/dpo.h"
#include "luce/loss/generative.h"
#include "luce/loss/ipo.h"
#include "luce/loss/slic.h"
#include "luce/loss/unlikelihood.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce {
namespace family {

using namespace oracle;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double Point::margin() const { return (logp[0] - logp[1]).item<double>(); }
double Point::ratio_margin() const { return margin() - (log_ref[0] - log_ref[1]).item<double>(); }
double Point::reward_margin() const { return (reward[0] - reward[1]).item<double>(); }
double Point::p_rejected() const { return logp[1].exp().item<double>(); }

namespace {

Pair<double> both(double c) { return {c, c}; }

}  // namespace

std::vector<Member> members() {
  const auto generative = std::make_shared<Generative>(GenerativeOptions{.kl_weight = 0});
  const auto unlikelihood = [](const char* form) {
    return std::make_shared<Unlikelihood>(UnlikelihoodOptions{.form = form, .alpha = kAlpha});
  };
  return {
      // With R for log π, generative preference is Bradley–Terry.
      {"RLHF, reward model", "reward_model", "\u03c3(R_l \u2212 R_w), of \u2207R", Of::reward,
       generative, [](const Point& x) { return both(sigmoid(-x.reward_margin())); }},
      {"DPO", "dpo", "\u03b2 \u03c3(\u03b2 (u_l \u2212 u_w))", Of::policy,
       std::make_shared<Dpo>(DpoOptions{.beta = kBeta}),
       [](const Point& x) { return both(kBeta * sigmoid(-kBeta * x.ratio_margin())); }},
      {"IPO", "ipo", "1/\u03c4 \u2212 2 (u_w \u2212 u_l)", Of::policy,
       std::make_shared<Ipo>(IpoOptions{.beta = kBeta}),
       [](const Point& x) { return both(1 / kBeta - 2 * x.ratio_margin()); }},
      {"SLiC", "slic", "1 if L_w \u2212 L_l < \u03b4, else 0", Of::policy,
       std::make_shared<Slic>(SlicOptions{.delta = kDelta, .nll_weight = 0}),
       [](const Point& x) { return both(x.margin() < kDelta ? 1 : 0); }},
      {"unlikelihood", "unlikelihood", "1 and \u03b1 \u03c0_l/(1 \u2212 \u03c0_l)", Of::policy,
       unlikelihood("sequence"),
       [](const Point& x) {
         return Pair<double>{1, kAlpha * x.p_rejected() / (1 - x.p_rejected())};
       }},
      {"unlikelihood, plain", "unlikelihood_plain", "1 and \u03b1", Of::policy,
       unlikelihood("plain"),
       [](const Point&) {
         return Pair<double>{1, kAlpha};
       }},
      {"generative", "generative", "\u03c3(L_l \u2212 L_w)", Of::policy, generative,
       [](const Point& x) { return both(sigmoid(-x.margin())); }},
      {"regularised generative", "regularised_generative",
       "\u03c3(log \u03c0*_l \u2212 log \u03c0*_w)/\u03b2, of \u2207R", Of::optimum, generative,
       [](const Point& x) {
         const Tensor best = KlObjective{x.log_ref, x.reward, kBeta}.log_optimum();
         return both(sigmoid((best[1] - best[0]).item<double>()) / kBeta);
       }},
  };
}

namespace {

/// Where labels of probability p leave a policy of two answers at rest.
Findings rest(const ExperimentOptions&) {
  constexpr double p = 0.8;
  const Tensor preference = numbers({0.5, p, 1 - p, 0.5}).view({2, 2});
  const auto pairs = population(preference, uniform_pairs(2));
  const Tensor even = numbers({0.5, 0.5}).log(), uneven = numbers({0.3, 0.7}).log();
  Findings found;
  Table table{
      "Where the weights cancel, if the first of two answers wins 80% of the labels",
      {"loss", "L_1 \u2212 L_2, \u03c0_ref = (0.5, 0.5)", "L_1 \u2212 L_2, \u03c0_ref = (0.3, 0.7)",
       "\u03c0_1, even", "\u03c0_1, uneven"},
      {},
      "Minima over policies of two answers. logit 0.8 = 1.386; \u03b2 = \u03c4 = 0.5, \u03b4 = 1."};
  const auto row = [&](const std::string& name, const std::string& key, const Tensor& a,
                       const Tensor& b) {
    const double gap[] = {(a[0] - a[1]).item<double>(), (b[0] - b[1]).item<double>()};
    table.rows.push_back(
        {name, fixed(gap[0]), fixed(gap[1]), fixed(sigmoid(gap[0])), fixed(sigmoid(gap[1]))});
    found.figures["rest"][key] = {{"even", gap[0]}, {"uneven", gap[1]}};
  };
  for (const Member& m : members()) {
    if (m.key == "unlikelihood_plain") continue;  // falls without end until its floor
    const auto minimum = [&](const Tensor& log_ref) {
      if (m.of == Of::policy) return fitted_policy(*m.loss, pairs, log_ref).x;
      const auto policy = [&](const Tensor& r) {
        return KlObjective{log_ref, r, kBeta}.log_optimum();
      };
      const auto loss = [&](const Tensor& r) {
        const Tensor x = m.of == Of::optimum ? policy(r) : r;
        return population_loss(*m.loss, pairs, one_token_each(x), one_token_each(log_ref));
      };
      return policy(minimise(loss, at::zeros({2}, at::kDouble)).x);
    };
    row(m.of == Of::reward ? "RLHF" : m.name, m.key, minimum(even), minimum(uneven));
  }
  found.tables = {table};
  found.answer =
      "Labels that disagree show what the weights aim at: RLHF and DPO multiply the reference's "
      "odds by "
      "(p/(1 \u2212 p))^(1/\u03b2), IPO adds (2p \u2212 1)/(2\u03c4) to its log-odds, generative "
      "losses and unlikelihood "
      "copy p, and SLiC stops at its \u03b4 whatever p is.";
  return found;
}

Findings run(const ExperimentOptions& options) {
  Findings all;
  all.figures = Json::object();
  for (Findings found : {weights(options), rest(options), two_levels(options)}) {
    all.answer += (all.answer.empty() ? "" : " ") + found.answer;
    std::move(found.tables.begin(), found.tables.end(), std::back_inserter(all.tables));
    std::move(found.charts.begin(), found.charts.end(), std::back_inserter(all.charts));
    all.figures.update(found.figures);
  }
  return all;
}

}  // namespace
}  // namespace family

Experiment one_family() {
  return {
      "one-family", "One family of losses",
      "In what do reward models with RL, DPO, IPO, SLiC, unlikelihood and generative preference "
      "differ, and which of them says anything about an answer that nobody has seen?",
      family::run};
}

}  // namespace luce
