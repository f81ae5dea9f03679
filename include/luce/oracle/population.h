// Losses of preference pairs in the limit of infinitely many pairs: instead of a sample, every pair
// with its probability. What a loss makes of a policy, free of noise.
#pragma once

#include <cstdint>
#include <vector>

#include "luce/loss/loss.h"
#include "luce/ops/tensor.h"
#include "luce/oracle/calculus.h"

namespace luce::oracle {

/// Labelled pairs of answers 0 … S−1 and how often each comes.
struct PairPopulation {
  std::vector<int64_t> chosen, rejected;  // [P]
  Tensor probability;                     // [P] f64, of sum 1

  /// value(chosen) − value(rejected) of every pair, [P], from a table of answers [S].
  Tensor margin(const Tensor& value) const;
  /// Σ_p P(p) value_p, from values of pairs [P].
  Tensor mean(const Tensor& value) const;
};

/// How pairs are drawn: [S, S] f64 of sum 1 with a zero diagonal. Each pair of two answers equally
/// often, and two independent draws from μ [S], given that they differ.
Tensor uniform_pairs(int64_t answers);
Tensor independent_pairs(const Tensor& mu);

/// The pair {i, j} is drawn with probability sampling[i][j] + sampling[j][i], so that `sampling`
/// may hold ordered or unordered pairs, and labelled i ≻ j with probability preference[i][j].
/// Labels that never occur are left out. Throws ArgumentError where shapes, sums or the diagonal do
/// not fit.
PairPopulation population(const Tensor& preference, const Tensor& sampling);

/// The answer 0, always preferred to the answer 1.
PairPopulation one_pair();

/// Answers of one token, one an entry of log-probs [S].
TokenValues one_token_each(const Tensor& logps);

/// The loss of a step that holds infinitely many pairs: one number, differentiable in the answers'
/// log-probs.
///
/// A term is a ratio of two sums over the step: its values, and what it is divided `per`. In the
/// limit that is the ratio of their expectations, Σ_p P(p) value_p / Σ_p P(p) count_p. Items count
/// one a pair, so that a term per item is just its values, weighted by the probabilities of the
/// pairs. A term may hold one value a pair, completion or token; per chosen or rejected token, one
/// a pair or one for each of these.
///
/// `logps` and `ref_logps` hold the tokens of answers 0 … S−1. Throws ArgumentError on terms of
/// other sizes, and for a loss that asks for more than pairs and their log-probs; one that couples
/// the step does, since its terms depend on which pairs stand together.
Tensor population_loss(const SequenceLoss& loss, const PairPopulation& pairs,
                       const TokenValues& logps, const TokenValues& ref_logps);

/// The policy with a free logit for each answer that minimises the loss, from the reference: x
/// holds its log-probs [S].
Minimum fitted_policy(const SequenceLoss& loss, const PairPopulation& pairs, const Tensor& log_ref);

}  // namespace luce::oracle
