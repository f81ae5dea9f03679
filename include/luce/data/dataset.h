// Files of rows as token ids: preferences, judged answers and supervised rows, tokenized as TRL
// does.
//
//   preference         chosen, rejected and, unless both start with it, prompt; perhaps reference
//                      (a gold answer), margin, rating (−2 … 2; negative: rejected is the better
//                      answer), rater
//   unpaired           prompt, completion, label (true: desirable)
//   scored             prompt, completion, score (larger is better)
//   ranked             prompt, completions (two or more), and ranks (smaller is better) or scores
//   stepwise           prompt, completions (the steps of one answer), labels (one a step; true:
//                      right), perhaps label (of the answer; else whether all steps are right)
//   prompt_completion  prompt, completion
//   text               text
//   input_ids          input_ids (token ids, taken as they are)
//
// The EOS text is put behind each completion that does not end with it. The prompt of an example is
// what the token ids of the prompt and of each prompt + completion have in common at their start.
// Stepwise rows differ, as in TRL: prompt and steps are tokenized apart, with the tokens of a
// newline behind each step; EOS, which TRL leaves out, ends the last one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "luce/data/tokenizer.h"

namespace luce {

enum class RowType {
  preference,
  unpaired,
  scored,
  ranked,
  stepwise,
  text,
  prompt_completion,
  input_ids
};

/// "preference", "unpaired", …: the names above.
std::string name_of(RowType type);

/// What a completion is to its loss.
enum class Role : uint8_t {
  chosen,      // to be made likelier: the preferred answer, a desirable one, a demonstration
  rejected,    // the answer it was preferred to, or an undesirable one
  ranked,      // one of several that are told apart by their scores
  gold,        // an answer given beside a pair, for maximum likelihood
  mismatched,  // another prompt's answer: it is scored, and gets no gradient
};

/// A step of an answer: its last token, and whether it is right.
struct StepLabel {
  int64_t end = 0;  // tokens of the completion up to and with the step
  bool right = true;
};

/// One row as token ids. No sequence is empty: where a row has no prompt, its first token, which
/// nothing can predict, is the prompt.
struct Example {
  std::vector<int64_t> prompt;
  std::vector<std::vector<int64_t>> completions;  // a pair: {chosen, rejected}, perhaps gold
  int64_t row = 0;                                // from 1: the line in the file
  std::vector<Role> roles = {};                   // one a completion; left empty: chosen, rejected
  double margin = 0;                              // by how much the chosen answer is better
  double preference = 1;              // probability that the chosen answer is the better one
  int64_t rater = -1;                 // index into Dataset::raters of who judged, −1 where unsaid
  std::vector<double> scores = {};    // one a completion, larger is better; ranks are negated
  std::vector<StepLabel> steps = {};  // of a stepwise row's one completion

  Role role(size_t k) const {
    return roles.empty() ? (k == 0 ? Role::chosen : Role::rejected) : roles[k];
  }
};

struct DatasetOptions {
  int64_t max_length = 1024;     // tokens of prompt + completion
  std::string overlong = "cut";  // what becomes of longer rows: cut (the end is lost), drop
  bool strict = false;  // stop at the first bad row, and at prompts that do not end on a token
  bool completion_only_loss = true;  // false: prompt_completion rows are trained on as one text
  bool add_eos = true;
  std::string type = "auto";       // or a name of a RowType
  std::string ratings = "ignore";  // what a rating becomes: ignore, margin, wide_margin, label
  std::string ties = "drop";       // what becomes of a rating of 0: drop, half
  std::map<std::string, std::string> column_map = {};  // name above → name in the file
  std::filesystem::path cache_dir = {};                // of tokenized rows; empty: no cache
};

/// What became of the rows.
struct DatasetReport {
  std::string file;
  RowType type = RowType::text;
  bool detected = false;  // the type was found by the keys of the first row
  int64_t rows = 0;       // in the file, without blank lines
  int64_t kept = 0;
  int64_t bad = 0;          // dropped: unreadable, or without what its type needs
  int64_t too_long = 0;     // dropped: a prompt of max_length tokens, or no room for a first step
  int64_t empty = 0;        // dropped: a completion without a token
  int64_t overlong = 0;     // dropped: longer than max_length, where the options say so
  int64_t truncated = 0;    // kept, with a completion cut at max_length
  int64_t boundary = 0;     // kept, with a prompt whose last tokens merge into the completion
  int64_t equal_pairs = 0;  // kept, with the same chosen and rejected: no gradient comes from them
  int64_t rated = 0;        // kept, with a rating that data.ratings ignores
  int64_t swapped = 0;      // kept, with a negative rating: chosen and rejected changed places
  int64_t tied = 0;         // with a rating of 0: dropped, or kept with the preference ½
  std::vector<std::string> first_reasons;  // of bad rows: "FILE:LINE: why", at most 20
  std::vector<int64_t> first_boundary;     // rows, at most 20
  bool from_cache = false;
};

/// The report as one line for the log.
std::string describe(const DatasetReport& report);

struct Dataset {
  RowType type = RowType::text;
  std::vector<Example> examples;    // in the order of the file
  std::vector<std::string> raters;  // the names in the column "rater", in the order of appearance
  DatasetReport report;
};

/// Merges the examples of `scored` rows that have the same prompt ids: one example with all their
/// completions and scores, in the place and under the row of the first. Rows of other types are
/// left as they are, and so is the report.
Dataset group_by_prompt(Dataset dataset);

/// Reads, checks and tokenizes a file (formats: see jsonl.h). `tokenizer` may be null for input_ids
/// rows. Bad rows are dropped and counted. With a cache the result is kept under a name made of
/// everything that it depends on; a damaged cache is made anew.
/// Throws MissingFileError; UsageError on options that make no sense or a file whose rows are of no
/// known type; DataError where more than 1 % of the rows are bad, where none is left, and under
/// `strict` at the first bad or boundary row.
Dataset load_dataset(const std::filesystem::path& file, const Tokenizer* tokenizer,
                     const DatasetOptions& options);

}  // namespace luce
