// What pairs of answers tell before anything is trained: how their labels are made, and by what
// marks the chosen answer could be told without being understood.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "luce/base/estimate.h"
#include "luce/data/dataset.h"

namespace luce {

/// A mark that an answer has or has not.
struct AnswerMark {
  std::string name;     // completes "answers that …": "begin with \"▁I\""
  int64_t decides = 0;  // pairs of which one answer alone has it
  int64_t chosen = 0;   // of those, the pairs whose chosen answer has it
  double p = 1;         // of so uneven a division, or more so, by chance (two-sided binomial)
};

/// Rows of pairs, or the best and the worst answer of each row that has scores. Two rows have the
/// same prompt where their prompts' tokens are the same, and the same pair where prompt and answers
/// are, in either order. "Judged" are pairs of different answers of which one is the better.
struct PreferenceStatistics {
  int64_t pairs = 0;
  bool for_rewards = false;  // advice is for a reward model, not for a policy's loss
  bool from_scores = false;  // each pair is the best and the worst answer of a row
  int64_t equal = 0;         // with two equal answers
  int64_t tied = 0;          // with different answers, neither the better one: equal scores, p = ½
  int64_t judged = 0;        // the others; what follows is of them unless it says otherwise
  int64_t soft = 0;          // with a probability below 1 that the chosen answer is better
  int64_t raters = 0;        // different ones

  Estimate chosen_length, rejected_length;  // tokens, the end of sequence included
  Estimate longer_chosen;                   // share, of the pairs of unequal lengths
  int64_t equal_length = 0;

  // Of all pairs.
  int64_t prompts = 0, most_pairs = 0;           // most_pairs: of one prompt
  std::array<int64_t, 4> prompts_by_pairs = {};  // prompts with 1, 2, 3 to 5, more than 5 pairs

  int64_t distinct = 0;         // different pairs
  int64_t repeated = 0;         // of the different pairs, those judged twice or more
  int64_t contradicted = 0;     // of the repeated, those judged both ways
  int64_t decided_prompts = 0;  // prompts with judged pairs, none of them contradicted
  int64_t contradicted_prompts = 0;
  double disagreement = 0;  // share, of two judgements of one pair: 0 where none is repeated

  int64_t marks_tried = 0;        // which decide enough pairs to be told from chance
  double mark_threshold = 0;      // of p, so that a fair file has any mark with probability 0.01
  std::vector<AnswerMark> marks;  // below the threshold, the least p first

  bool has_eval = false;
  int64_t eval_pairs = 0;
  int64_t eval_known_prompts = 0;  // eval pairs whose prompt is one of train
  int64_t eval_known_pairs = 0;    // eval pairs that are in train, in either order
};

/// Counts over training rows and, where it is not null, the rows of an evaluation. Marks are the
/// first and the last token of an answer; with a tokenizer also a missing end of sequence (the
/// answer was cut) and what the text contains: a newline, a list, a digit, … Rows of other types
/// than pairs and scored answers are passed over. Throws DataError on ids outside the vocabulary.
PreferenceStatistics preference_statistics(const std::vector<Example>& train,
                                           const std::vector<Example>* eval = nullptr,
                                           const Tokenizer* tokenizer = nullptr);

/// What follows for training, a sentence or two each; empty where nothing stands out.
std::vector<std::string> advice(const PreferenceStatistics& statistics);

/// Numbers and advice in several lines for a terminal; "" where there are no pairs.
std::string describe(const PreferenceStatistics& statistics);

}  // namespace luce
