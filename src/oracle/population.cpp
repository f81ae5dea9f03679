#include "luce/oracle/population.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "luce/base/error.h"
#include "luce/oracle/table.h"

namespace luce::oracle {

Tensor PairPopulation::margin(const Tensor& value) const {
  return value.index_select(0, at::tensor(chosen, at::kLong)) -
         value.index_select(0, at::tensor(rejected, at::kLong));
}

Tensor PairPopulation::mean(const Tensor& value) const { return (probability * value).sum(); }

Tensor uniform_pairs(int64_t answers) {
  return independent_pairs(at::full({answers}, 1.0 / static_cast<double>(answers), at::kDouble));
}

Tensor independent_pairs(const Tensor& mu) {
  const Tensor both = mu.outer(mu);
  const Tensor different = both - both.diag().diag();
  return different / different.sum();
}

PairPopulation population(const Tensor& preference, const Tensor& sampling) {
  if (preference.dim() != 2 || preference.size(0) != preference.size(1) ||
      preference.sizes() != sampling.sizes())
    throw ArgumentError(
        cat("[population] preference and sampling must be square tables of one size; got ",
            shown(preference), " and ", shown(sampling)));
  const double sum = sampling.sum().item<double>(), same = sampling.trace().item<double>();
  if (std::abs(sum - 1) > 1e-12 || same != 0)
    throw ArgumentError(
        cat("[population] sampling must sum to 1 and be 0 on its diagonal; got a sum of ", sum,
            ", of which ", same, " is on the diagonal"));
  const double off = (preference + preference.t() - 1).abs().max().item<double>();
  if (!(off <= 1e-12))
    throw ArgumentError(
        cat("[population] preference[i][j] and preference[j][i] must sum to 1; got sums that are "
            "off by up to ",
            off));
  const Tensor often = (sampling + sampling.t()) * preference;
  PairPopulation pairs;
  std::vector<double> probability;
  for (int64_t i = 0; i < often.size(0); ++i)
    for (int64_t j = 0; j < often.size(0); ++j)
      if (const double p = often[i][j].item<double>(); p > 0) {
        pairs.chosen.push_back(i);
        pairs.rejected.push_back(j);
        probability.push_back(p);
      }
  pairs.probability = at::tensor(probability, at::kDouble);
  return pairs;
}

PairPopulation one_pair() { return {{0}, {1}, numbers({1})}; }

TokenValues one_token_each(const Tensor& logps) {
  TokenValues answers{logps, {}};
  for (int64_t s = 0; s <= logps.numel(); ++s) answers.offset.push_back(s);
  return answers;
}

namespace {

/// The tokens of completions that are answers with these indices.
TokenValues take(const TokenValues& answers, const std::vector<int64_t>& index) {
  std::vector<int64_t> tokens, offset{0};
  for (const int64_t s : index) {
    const auto begin = answers.offset[static_cast<size_t>(s)],
               end = answers.offset[static_cast<size_t>(s) + 1];
    for (int64_t m = begin; m < end; ++m) tokens.push_back(m);
    offset.push_back(static_cast<int64_t>(tokens.size()));
  }
  return {answers.values.index_select(0, at::tensor(tokens, at::kLong)), offset};
}

/// What a loss asks for that a population does not hold; empty where there is nothing.
std::string beyond_pairs(const SequenceLoss& loss) {
  const Needs needs = loss.needs();
  if (loss.rows() == Rows::ranked || loss.rows() == Rows::scored) return "rankings or scores";
  if (needs.couples == Coupling::step) return "the other pairs of its step";
  if (needs.log_sum_p2 || needs.candidates || !needs.divergences.empty())
    return "probabilities of further tokens";
  return needs.gold ? "gold answers" : "";
}

/// What a term's values are weighted by: their pair's probability.
struct Weights {
  Tensor pair, completion, token, chosen_token, rejected_token;

  Weights(const PairPopulation& pairs, const Tensor& length)
      : pair(pairs.probability),
        completion(pair.repeat_interleave(2)),
        token(completion.repeat_interleave(length)),
        chosen_token(pair.repeat_interleave(length.view({-1, 2}).select(1, 0))),
        rejected_token(pair.repeat_interleave(length.view({-1, 2}).select(1, 1))) {}

  Tensor of(const Term& term) const {
    std::vector<Tensor> candidates{pair, completion, token};
    if (term.per == Per::chosen_token) candidates = {pair, chosen_token};
    if (term.per == Per::rejected_token) candidates = {pair, rejected_token};
    for (const Tensor& w : candidates)
      if (term.value.numel() == w.numel()) return w;
    throw ArgumentError(
        cat("[population_loss] a term must hold one value a pair, completion or token, so that its "
            "values can be weighted by the pairs' probabilities; got ",
            shown(term.value), ", number of pairs ", pair.numel()));
  }
};

}  // namespace

Tensor population_loss(const SequenceLoss& loss, const PairPopulation& pairs,
                       const TokenValues& logps, const TokenValues& ref_logps) {
  if (const std::string asks = beyond_pairs(loss); !asks.empty())
    throw ArgumentError(
        cat("[population_loss] a population holds pairs and their log-probs; this loss asks for ",
            asks));
  std::vector<int64_t> answer, group{0};
  std::vector<Role> role;
  for (size_t p = 0; p < pairs.chosen.size(); ++p) {
    answer.insert(answer.end(), {pairs.chosen[p], pairs.rejected[p]});
    role.insert(role.end(), {Role::chosen, Role::rejected});
    group.push_back(static_cast<int64_t>(answer.size()));
  }
  const TokenValues policy = take(logps, answer);
  const Weights weights(pairs, policy.length().to(at::kLong));
  Totals expected;
  expected.items = 1;
  expected.sequences = 2;
  expected.tokens = weights.token.sum().item<double>();
  expected.chosen_tokens = weights.chosen_token.sum().item<double>();
  expected.rejected_tokens = weights.rejected_token.sum().item<double>();
  Metrics metrics;
  Terms terms = loss({policy, take(ref_logps, answer), role, group}, metrics);
  for (Term& term : terms) term.value = term.value.reshape({-1}) * weights.of(term);
  return reduce(terms, expected);
}

Minimum fitted_policy(const SequenceLoss& loss, const PairPopulation& pairs,
                      const Tensor& log_ref) {
  const auto of_logits = [&](const Tensor& logits) {
    return population_loss(loss, pairs, one_token_each(log_policy(logits)),
                           one_token_each(log_ref));
  };
  Minimum found = minimise(of_logits, log_ref);
  found.x = log_policy(found.x);
  return found;
}

}  // namespace luce::oracle
