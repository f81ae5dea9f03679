// The rows of an online run: prompts, with whatever else a row holds for the rewards to read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "luce/base/json.h"
#include "luce/data/tokenizer.h"

namespace luce {

struct Prompt {
  int64_t row = 0;           // from 1: the line in the file
  std::string text;          // "" where the row gave token ids and there is no tokenizer
  std::vector<int64_t> ids;  // with BOS, where the tokenizer puts it
  Json columns;              // the row under the file's own names
};

struct PromptOptions {
  int64_t max_length = 1024;  // tokens; longer prompts are dropped and counted
  bool strict = false;        // stop at the first bad row
  std::map<std::string, std::string> column_map = {};  // "prompt" or "input_ids" → name in the file
};

struct PromptReport {
  std::string file;
  int64_t rows = 0, kept = 0, bad = 0, too_long = 0;
  std::vector<std::string> first_reasons;  // of bad rows, at most 20
};

/// The report as one line for the log.
std::string describe(const PromptReport& report);

struct PromptSet {
  std::vector<Prompt> prompts;  // in the order of the file
  PromptReport report;
};

/// Reads a file (formats: jsonl.h) of rows with "prompt", a text, or "input_ids", its token ids.
/// `tokenizer` may be null for the latter. Bad rows are dropped and counted. Throws
/// MissingFileError; UsageError on a map of other columns and on texts without a tokenizer;
/// DataError where more than 1 % of the rows are bad, where none is left, and under `strict` at the
/// first bad one.
PromptSet load_prompts(const std::filesystem::path& file, const Tokenizer* tokenizer,
                       const PromptOptions& options);

}  // namespace luce
