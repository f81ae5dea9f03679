// Where DPO starts from, with free logits and with logits that answers share.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "experiment/dpo_and_rlhf.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/choice.h"

namespace luce::dpo_rlhf {

using namespace oracle;

namespace {

constexpr int64_t kPrompts = 4, kAnswers = 5;

/// Prompts with answers, and pairs within each prompt: one list of prompts × answers log-probs.
struct Prompts {
  KlObjective j;  // [prompts, answers]
  PairPopulation pairs;

  /// DPO's loss of logits [prompts, answers].
  Tensor loss(const Tensor& logits) const {
    return population_loss(Dpo({.beta = j.beta}), pairs,
                           one_token_each(log_policy(logits).reshape({-1})),
                           one_token_each(j.log_ref.reshape({-1})));
  }
  double regret(const Tensor& logits) const {
    return (j.value(j.log_optimum()) - j.value(log_policy(logits))).mean().item<double>();
  }
};

/// Only the first `compared` answers of each prompt are ever compared.
Prompts prompts(const Tensor& ref_logits, uint64_t seed, int64_t compared) {
  const KlObjective j{log_policy(ref_logits), normal({kPrompts, kAnswers}, seed), 0.5};
  const int64_t all = kPrompts * kAnswers;
  Tensor preference = at::full({all, all}, 0.5, at::kDouble), sampling = at::zeros_like(preference);
  for (int64_t x = 0; x < kPrompts; ++x) {
    const auto block = [&](const Tensor& table, int64_t size) {
      return table.slice(0, x * kAnswers, x * kAnswers + size)
          .slice(1, x * kAnswers, x * kAnswers + size);
    };
    block(preference, kAnswers).copy_(bradley_terry(j.reward[x]));
    block(sampling, compared).copy_(uniform_pairs(compared) / kPrompts);
  }
  return {j, population(preference, sampling)};
}

/// Logits [prompts, answers] from parameters.
using Parametrisation = std::function<Tensor(const Tensor&)>;

Tensor free_table(const Tensor& x) { return x.view({kPrompts, kAnswers}); }

/// Logits A Bᵀ: A [prompts, 2] and B [answers, 2] in one list.
Tensor low_rank(const Tensor& x) {
  const Tensor a = x.slice(0, 0, 2 * kPrompts), b = x.slice(0, 2 * kPrompts);
  return a.view({kPrompts, 2}).matmul(b.view({kAnswers, 2}).t());
}

/// Logits of a network with six hidden units whose weights are fixed: four parameters move all.
Tensor network(const Tensor& x) {
  const Tensor in = normal({6, 4}, 1), out = normal({kPrompts * kAnswers, 6}, 2);
  return out.matmul(at::tanh(in.matmul(x))).view({kPrompts, kAnswers});
}

/// Where training ends from one start.
struct End {
  double loss, gradient_norm, regret;
  Tensor policy;
};

End trained(const Prompts& p, const Parametrisation& logits, const Tensor& start, int steps) {
  Tensor x = start;
  double norm = 0;
  const auto loss = [&](const Tensor& at) { return p.loss(logits(at)); };
  if (steps == 0) {
    const Minimum found = minimise(loss, start, {.gradient_norm = 1e-10});
    x = found.x;
    norm = found.gradient_norm;
  } else {
    for (int step = 0; step < steps; ++step) {
      const Tensor here = x.detach().requires_grad_(true);
      const Tensor g = gradient(loss(here), here).detach();
      x = here.detach() - g;
      norm = g.norm().item<double>();
    }
  }
  const Tensor end = logits(x);
  return {p.loss(end).item<double>(), norm, p.regret(end), log_policy(end).exp()};
}

}  // namespace

Part starting_points(const ExperimentOptions& options) {
  const uint64_t starts = options.quick ? 6 : 20, seed = 100 * options.seed;
  // References that every policy of their row can be.
  const Tensor parameters = normal({2 * (kPrompts + kAnswers)}, seed);
  const Tensor few = normal({4}, seed);
  const Tensor reference = low_rank(parameters);
  const Prompts all = prompts(reference, seed + 1, kAnswers),
                some = prompts(reference, seed + 1, 3),
                narrow = prompts(network(few), seed + 1, kAnswers);
  const int steps = options.quick ? 100 : 300;
  struct Setting {
    std::string name, key;
    const Prompts* prompts;
    Parametrisation logits;
    Tensor start;
    int steps;
  };
  Part part;
  Table table{
      cat("DPO from the reference and from ", starts, " random starts"),
      {"policy", "loss from \u03c0_ref", "lowest loss", "regret from \u03c0_ref",
       "regret from random", "least", "most", "policies differ by"},
      {},
      "Regret: J(\u03c0*) \u2212 J(\u03c0), mean over 4 prompts of 5 answers, \u03b2 = "
      "0.5, infinitely many pairs. Random starts: standard normal parameters, mean \u00b1 standard "
      "error, least and most. Policies differ by: the largest difference of a probability "
      "from that of the run from \u03c0_ref. All run to a minimum but those with steps, which "
      "are of size 1."};
  for (const Setting& s :
       {Setting{"free table", "table", &all, free_table, reference.reshape({-1}), 0},
        {cat("free table, ", steps, " steps"), "table_early", &all, free_table,
         reference.reshape({-1}), steps},
        {"free table, 2 of 5 answers never compared", "table_unseen", &some, free_table,
         reference.reshape({-1}), 0},
        {"logits of rank 2", "rank_2", &all, low_rank, parameters, 0},
        {"network of 4 parameters", "network", &narrow, network, few, 0}}) {
    const End from_reference = trained(*s.prompts, s.logits, s.start, s.steps);
    std::vector<double> regret, loss{from_reference.loss};
    double apart = 0, slope = from_reference.gradient_norm;
    for (uint64_t k = 0; k < starts; ++k) {
      const End end =
          trained(*s.prompts, s.logits, normal({s.start.numel()}, seed + 10 + k), s.steps);
      regret.push_back(end.regret);
      loss.push_back(end.loss);
      slope = std::max(slope, end.gradient_norm);
      apart = std::max(apart, deviation(end.policy, from_reference.policy));
    }
    const auto [least, most] = std::minmax_element(regret.begin(), regret.end());
    const Estimate mean = mean_of(regret);
    const auto cell = [](double x) { return std::abs(x) < 1e-6 ? residual(x) : fixed(x, 4); };
    table.rows.push_back({s.name, fixed(from_reference.loss, 5),
                          fixed(*std::min_element(loss.begin(), loss.end()), 5),
                          cell(from_reference.regret),
                          std::abs(mean.value) < 1e-6 ? cell(mean.value) : shown(mean, 4),
                          cell(*least), cell(*most), cell(apart)});
    part.figures[s.key] = {{"loss_from_reference", from_reference.loss},
                           {"losses", loss},
                           {"largest_gradient", slope},
                           {"regret_from_reference", from_reference.regret},
                           {"regrets_from_random", regret},
                           {"policies_differ_by", apart}};
  }
  part.tables = {table};
  part.answer = cat(
      "On a free table DPO's loss is convex and the start does not matter in the end (after ",
      steps, " steps a probability still differs by up to ", table.rows[1][7],
      "); answers that no pair holds keep the share that the start gave them (regret ",
      table.rows[2][3], " from \u03c0_ref, ", table.rows[2][4],
      " from random weights). Logits of rank 2 end alike (", table.rows[3][7],
      "); a network of 4 parameters ends at ", table.rows[4][3], " from \u03c0_ref and between ",
      table.rows[4][5], " and ", table.rows[4][6], " from random weights.");
  return part;
}

}  // namespace luce::dpo_rlhf
