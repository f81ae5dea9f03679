// Policies held against each other: win rates, Bradley–Terry strengths, best-of-n.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "luce/base/estimate.h"

namespace luce {

/// How often a policy wins, ties as half a win.
struct WinRate {
  Estimate rate;
  Interval interval;  // Wilson's, of 95 %; wider than needed where there are ties
};

/// Of single comparisons that are independent of each other. Throws ArgumentError on a negative
/// count and where all are 0.
WinRate win_rate(int64_t wins, int64_t ties, int64_t losses);

/// Of results by prompt, each from 0 (lost) to 1 (won): the mean over prompts of each prompt's
/// mean, its standard error and interval over prompts, which alone are independent. Throws
/// ArgumentError without a prompt, on a prompt without a result and on results outside [0, 1].
WinRate win_rate(const std::vector<std::vector<double>>& results);

/// Who beat whom how often. Both matrices have a row and a column a name.
struct ComparisonTable {
  std::vector<std::string> names;
  std::vector<std::vector<double>> wins;  // [i][j]: comparisons that i won against j
  std::vector<std::vector<double>> ties;  // [i][j] and [j][i]: comparisons that neither won

  /// The index of a name, which is added where it is new.
  size_t index_of(const std::string& name);
};

/// Reads rows {"first": NAME, "second": NAME, "winner": "first", "second" or "tie"} (formats: see
/// jsonl.h); names stand in the order of appearance, other keys are ignored. Throws
/// MissingFileError; UsageError on another kind of file; DataError that names the lines of all bad
/// rows, and on a file without rows.
ComparisonTable read_comparisons(const std::filesystem::path& file);

struct StrengthOptions {
  double prior = 0;  // wins that each name is given against each other one, beside those it has
};

/// Strengths θ with P(i beats j) = σ(θ_i − θ_j), of mean 0.
struct Strengths {
  std::vector<std::string> names;
  std::vector<double> strengths, errors;        // standard errors, by the Fisher information
  std::vector<std::vector<double>> covariance;  // of the strengths; its rows sum to 0
  double log_likelihood = 0;                    // of the comparisons and the prior's
  int64_t steps = 0;                            // Newton's

  /// P(i beats j).
  double win_probability(size_t i, size_t j) const;
  /// θ_i − θ_j and its standard error.
  Estimate difference(size_t i, size_t j) const;
};

/// Fits strengths by maximum likelihood, a tie as half a win of each. Throws ArgumentError on a
/// table of a wrong shape, with an entry that is negative or not finite, with wins of a name
/// against itself or with ties that are not symmetric, and on a prior that is negative or not
/// finite; DataError with fewer than two names, and where no maximum exists, naming who never won
/// or lost against the others (a prior makes it exist); SanityError where strengths lie so far
/// apart that f64 cannot tell them.
Strengths fit_strengths(const ComparisonTable& table, const StrengthOptions& options = {});

/// A strength, a difference or an error in points of Elo's scale: 400 / ln 10 of them a unit.
double elo(double strength);

/// Expected scores of the best of n samples, and how far their policy is from the base. Entry n − 1
/// is that of n.
struct BestOfN {
  std::vector<Estimate> proxy;  // over prompts: of the score that selects
  std::vector<Estimate> gold;   // of the score that judges; empty without gold scores
  std::vector<double> kl;       // bound of KL(best-of-n ‖ base), nats
};

/// From samples that were drawn once, [prompts][samples], for n = 1 … the fewest samples of a
/// prompt: the exact mean over all subsets of n samples of the score of the one with the greatest
/// proxy score, which is unbiased; equal proxy scores are chosen alike often. Throws ArgumentError
/// without a prompt, on one without a sample, on gold scores of another shape and on scores that
/// are not finite.
BestOfN best_of_n(const std::vector<std::vector<double>>& proxy,
                  const std::vector<std::vector<double>>& gold = {});

/// log n − (n − 1)/n ≥ KL(best-of-n ‖ base), nats; equal in the limit of many answers of small
/// probability and different scores. Throws ArgumentError unless n ≥ 1.
double best_of_n_kl(int64_t n);

}  // namespace luce
