// What the parts of the experiment dpo-and-rlhf share.
#pragma once

#include <string>
#include <vector>

#include "luce/experiment/experiment.h"
#include "luce/ops/tensor.h"
#include "luce/oracle/population.h"
#include "luce/oracle/table.h"

namespace luce::dpo_rlhf {

/// What one part found: `answer` is a sentence or two of the whole.
using Part = Findings;

Part same_optimum(const ExperimentOptions& options);
Part broken_bradley_terry(const ExperimentOptions& options);
Part small_classes(const ExperimentOptions& options);
Part pairs_needed(const ExperimentOptions& options);
Part starting_points(const ExperimentOptions& options);
Part sources_of_pairs(const ExperimentOptions& options);

/// S answers with a reward that is linear in features, r = Φw. Class d sees the first d columns of
/// Φ; class S − 1 holds every reward, up to the constant that no comparison shows.
struct Problem {
  oracle::KlObjective j;
  Tensor features;  // Φ [S, S−1]: columns of mean 0 and mean square 1, orthogonal

  Tensor first(int64_t d) const;  // [S, d]
  /// J(π*) − J(π) for log-probs [S].
  double regret(const Tensor& log_p) const;
  /// Pairs of two draws from μ [S] that differ, with Bradley–Terry labels of the true reward.
  oracle::PairPopulation pairs(const Tensor& mu) const;
};

/// 16 answers, β = ½, a random reference, random features, and weights w_k = 1/k for k ≤ `terms`,
/// 0 beyond.
Problem random_problem(uint64_t seed, int64_t terms = 15);

/// The reward Φθ that minimises −mean log σ(r_w − r_l) + ½ decay ‖θ‖²: [S].
Tensor fitted_reward(const oracle::PairPopulation& pairs, const Tensor& features, double decay = 0);

/// The policy π ∝ π_ref e^{Φθ/β} that minimises DPO's loss + ½ decay ‖θ‖²: log-probs [S].
Tensor fitted_dpo(const oracle::PairPopulation& pairs, const Tensor& features,
                  const Tensor& log_ref, double beta, double decay = 0);

/// So many independent draws from a population, as the population of that data set.
oracle::PairPopulation draw(const oracle::PairPopulation& from, int64_t pairs, uint64_t seed);

/// Two data sets as one, of these sizes.
oracle::PairPopulation joined(const oracle::PairPopulation& a, int64_t size_a,
                              const oracle::PairPopulation& b, int64_t size_b);

}  // namespace luce::dpo_rlhf
