// Files of rows as token ids: preference pairs and supervised rows, tokenized as TRL does.
//
//   preference         chosen, rejected and, unless both start with it, prompt
//   prompt_completion  prompt, completion
//   text               text
//   input_ids          input_ids (token ids, taken as they are)
//
// The EOS text is put behind each completion that does not end with it. The prompt of an example is
// what the token ids of the prompt and of each prompt + completion have in common at their start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "luce/data/tokenizer.h"

namespace luce {

enum class RowType { preference, text, prompt_completion, input_ids };

/// "preference", "text", "prompt_completion" or "input_ids".
std::string name_of(RowType type);

/// One row as token ids. No sequence is empty: where a row has no prompt, its first token, which
/// nothing can predict, is the prompt.
struct Example {
  std::vector<int64_t> prompt;
  std::vector<std::vector<int64_t>> completions;  // a pair: {chosen, rejected}; else one
  int64_t row = 0;                                // from 1: the line in the file
};

struct DatasetOptions {
  int64_t max_length = 1024;  // tokens of prompt + completion; the rest is cut off
  bool strict = false;  // stop at the first bad row, and at prompts that do not end on a token
  bool completion_only_loss = true;  // false: prompt_completion rows are trained on as one text
  bool add_eos = true;
  std::string type = "auto";                           // or a name of a RowType
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
  int64_t too_long = 0;     // dropped: the prompt alone has max_length tokens or more
  int64_t empty = 0;        // dropped: a completion without a token
  int64_t truncated = 0;    // kept, with a completion cut at max_length
  int64_t boundary = 0;     // kept, with a prompt whose last tokens merge into the completion
  int64_t equal_pairs = 0;  // kept, with the same chosen and rejected: no gradient comes from them
  std::vector<std::string> first_reasons;  // of bad rows: "FILE:LINE: why", at most 20
  std::vector<int64_t> first_boundary;     // rows, at most 20
  bool from_cache = false;
};

/// The report as one line for the log.
std::string describe(const DatasetReport& report);

struct Dataset {
  RowType type = RowType::text;
  std::vector<Example> examples;  // in the order of the file
  DatasetReport report;
};

/// Reads, checks and tokenizes a file (formats: see jsonl.h). `tokenizer` may be null for input_ids
/// rows. Bad rows are dropped and counted. With a cache the result is kept under a name made of
/// everything that it depends on; a damaged cache is made anew.
/// Throws MissingFileError; UsageError on options that make no sense or a file whose rows are of no
/// known type; DataError where more than 1 % of the rows are bad, where none is left, and under
/// `strict` at the first bad or boundary row.
Dataset load_dataset(const std::filesystem::path& file, const Tokenizer* tokenizer,
                     const DatasetOptions& options);

}  // namespace luce
