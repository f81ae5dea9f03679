// Where DPO's pairs come from: the reference, the policy itself, an expert.
#include <ATen/ATen.h>

#include <functional>

#include "experiment/dpo_and_rlhf.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/kl.h"
#include "luce/oracle/choice.h"

namespace luce::dpo_rlhf {

using namespace oracle;

namespace {

/// What a policy is worth, and the data it was made from.
struct Outcome {
  double chosen, rejected, reward, kl, regret;
};

/// Pairs whose first answer is from a, preferred to one from b, whoever is better.
PairPopulation by_origin(const Tensor& a, const Tensor& b) {
  PairPopulation pairs;
  std::vector<double> probability;
  const auto first = numbers_of(a), second = numbers_of(b);
  double total = 0;
  for (size_t i = 0; i < first.size(); ++i)
    for (size_t k = 0; k < first.size(); ++k) {
      if (i == k) continue;
      pairs.chosen.push_back(static_cast<int64_t>(i));
      pairs.rejected.push_back(static_cast<int64_t>(k));
      probability.push_back(first[i] * second[k]);
      total += probability.back();
    }
  pairs.probability = numbers(probability) / total;
  return pairs;
}

/// Pairs of one answer from a and another from b, labelled by the true reward.
PairPopulation rated(const Problem& problem, const Tensor& a, const Tensor& b) {
  const Tensor both = a.outer(b), different = both - both.diag().diag();
  return population(bradley_terry(problem.j.reward), different / different.sum());
}

/// DPO on a table, written as the reward that its policy stands for: the same policy, sooner.
Tensor fit(const Problem& problem, const PairPopulation& data, int64_t pairs) {
  const Tensor r = fitted_reward(data, problem.features, 1 / static_cast<double>(pairs));
  return KlObjective{problem.j.log_ref, r, problem.j.beta}.log_optimum();
}

Outcome outcome(const Problem& problem, const PairPopulation& data, const Tensor& log_p) {
  const auto score = [&](const std::vector<int64_t>& answers) {
    return data.mean(problem.j.reward.index_select(0, at::tensor(answers, at::kLong)))
        .item<double>();
  };
  return {score(data.chosen), score(data.rejected),
          expectation(log_p, problem.j.reward).item<double>(),
          exact_kl(log_p, problem.j.log_ref).item<double>(), problem.regret(log_p)};
}

/// Four rounds of DPO against the same reference, each on a quarter more pairs, from the policy of
/// the last round, beside those of the rounds before.
Outcome in_rounds(const Problem& problem, int64_t pairs, uint64_t seed) {
  constexpr int64_t kRounds = 4;
  const int64_t each = pairs / kRounds;
  Tensor log_p = problem.j.log_ref;
  PairPopulation data;
  for (int64_t round = 0; round < kRounds; ++round) {
    const auto fresh =
        draw(problem.pairs(log_p.exp()), each, kRounds * seed + static_cast<uint64_t>(round));
    data = round == 0 ? fresh : joined(data, round * each, fresh, each);
    log_p = fit(problem, data, (round + 1) * each);
  }
  return outcome(problem, data, log_p);
}

}  // namespace

Part sources_of_pairs(const ExperimentOptions& options) {
  const uint64_t seeds = options.quick ? 20 : 60;
  const int64_t pairs = 200;
  const Problem problem = random_problem(1000 * options.seed + 500);
  const auto& j = problem.j;
  const Tensor reference = j.log_ref.exp(), best = j.log_optimum();
  const Tensor expert = log_policy(j.log_ref + 2 * j.reward / j.beta).exp();
  struct Source {
    std::string name, key;
    std::function<Outcome(uint64_t)> run;
  };
  const auto from = [&](const PairPopulation& population) {
    return [&problem, population, pairs](uint64_t seed) {
      const auto data = draw(population, pairs, seed);
      return outcome(problem, data, fit(problem, data, pairs));
    };
  };
  const std::vector<Source> sources{
      {"both from \u03c0_ref", "reference", from(problem.pairs(reference))},
      {"both from the policy, 4 rounds", "policy",
       [&](uint64_t seed) { return in_rounds(problem, pairs, seed); }},
      {"both from the expert", "expert", from(problem.pairs(expert))},
      {"one each from expert and \u03c0_ref", "expert_and_reference",
       from(rated(problem, expert, reference))},
      {"expert over \u03c0_ref, not rated", "by_origin", from(by_origin(expert, reference))}};

  Part part;
  Table table{cat("Where ", pairs, " pairs come from"),
              {"pairs", "score, chosen", "score, rejected", "E[r]", "KL to \u03c0_ref", "regret"},
              {},
              cat("Means \u00b1 standard errors over ", seeds,
                  " data sets; DPO on a table, \u03b2 = 0.5. The "
                  "expert is \u03c0_ref e^{2r/\u03b2}, \u03c0* sharpened. Not rated: the expert's "
                  "answer counts as "
                  "preferred even where the other is better.")};
  for (const auto& [name, key, policy] :
       {std::tuple{"\u03c0_ref itself", "of_reference", j.log_ref},
        {"\u03c0* itself", "of_optimum", best}}) {
    const double r = expectation(policy, j.reward).item<double>(),
                 kl = exact_kl(policy, j.log_ref).item<double>();
    table.rows.push_back(
        {name, "\u2013", "\u2013", fixed(r), fixed(kl), fixed(problem.regret(policy), 4)});
    part.figures[key] = {{"reward", r}, {"kl", kl}, {"regret", problem.regret(policy)}};
  }
  // With chosen answers from e and rejected ones from π_ref Bradley–Terry holds exactly, for the
  // reward log(e/π_ref) = 2r/β: the expert's sharpness comes on top of that of β.
  const double limit =
      problem.regret(KlObjective{j.log_ref, 2 * j.reward / j.beta, j.beta}.log_optimum());
  part.figures["by_origin_limit"] = limit;
  for (const Source& source : sources) {
    std::vector<double> all[5];
    for (uint64_t s = 0; s < seeds; ++s) {
      const Outcome o = source.run(options.seed * 100000 + s);
      const double values[] = {o.chosen, o.rejected, o.reward, o.kl, o.regret};
      for (size_t i = 0; i < 5; ++i) all[i].push_back(values[i]);
    }
    std::vector<std::string> row{source.name};
    const char* names[] = {"chosen", "rejected", "reward", "kl", "regret"};
    for (size_t i = 0; i < 5; ++i) {
      const Estimate mean = mean_of(all[i]);
      row.push_back(shown(mean, i == 4 ? 4 : 3));
      part.figures[source.key][names[i]] = {{"mean", mean.value}, {"standard_error", mean.error}};
    }
    table.rows.push_back(row);
  }
  table.note +=
      cat(" With infinitely many pairs every rated source ends at \u03c0*, that which is not "
          "rated at a regret of ",
          fixed(limit), ".");
  part.tables = {table};
  const auto mean = [&](const char* source, const char* what) {
    return fixed(part.figures[source][what]["mean"].get<double>());
  };
  part.answer = cat(
      "The mean score of the chosen answers does not tell how good the policy gets: pairs of an "
      "expert's answers have chosen ones of score ",
      mean("expert", "chosen"), " and leave a regret of ", mean("expert", "regret"),
      ", pairs from the policy itself ", mean("policy", "chosen"), " and ",
      mean("policy", "regret"), ", pairs from \u03c0_ref ", mean("reference", "chosen"), " and ",
      mean("reference", "regret"),
      ". An expert's answers are too alike to be told apart, and say nothing of the others.");
  return part;
}

}  // namespace luce::dpo_rlhf
