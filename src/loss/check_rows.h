// Rows with random numbers in the place of a model's: what check_loss tries losses on.
#pragma once

#include <string>
#include <vector>

#include "luce/loss/loss.h"

namespace luce::checks {

/// What a model would find at a token, nats.
struct MadeToken {
  double logp = 0, ref_logp = 0, log_sum_p2 = 0;
  std::vector<double> candidates;
};

struct MadeRow {
  Example example;                              // with the roles of all completions
  std::vector<std::vector<MadeToken>> answers;  // one list a completion
};
using MadeStep = std::vector<MadeRow>;

/// A row with random numbers at its tokens and at the candidates that the loss names.
MadeRow made_row(const SequenceLoss& loss, const Example& example, uint64_t seed, uint64_t index);

/// Rows of the kind that the loss wants, of uneven lengths. Steps of index 1 and 3 have margins,
/// those of 2 and 3 preferences below 1 where the loss can take them.
MadeStep made_step(const SequenceLoss& loss, uint64_t seed, uint64_t index);

/// A pair, or two ranked answers, of four tokens each: the better answer's log-ratio is above the
/// other one's by `margin`, and so is its log-prob.
MadeStep made_pair(const SequenceLoss& loss, double margin);

struct ExtremeStep {
  std::string name;
  MadeStep step;
};
std::vector<ExtremeStep> extreme_steps(const SequenceLoss& loss, uint64_t seed);

/// What the loss sees of a step: no more than `needs` asks for.
GroupInputs inputs_of(const MadeStep& step, const Needs& needs, at::ScalarType dtype);

Totals totals_of(const MadeStep& step);

/// The parts of a step that is cut wherever `level`, which is finer than the step, allows.
std::vector<MadeStep> cut(const MadeStep& step, Coupling level);

/// A number that the loss learns from: the log-prob of a token or of one of its candidates.
struct Place {
  double* logp;
  std::string name;  // "token 2 of the chosen answer of row 1"
};
/// All of them, token by token, each before its candidates; mismatched answers have none.
std::vector<Place> places_of(MadeStep& step);

}  // namespace luce::checks
