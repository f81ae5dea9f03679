// Rows of a file as texts, for verbs that stop at a row which they cannot use.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "luce/data/examples.h"

namespace luce::cli {

/// Answers of one row. `where` names the row in errors.
struct TextRow {
  int64_t number = 0;  // from 1: the line
  std::string where;
  RowType type = RowType::ranked;
  RowTexts texts;
};

/// Calls fn(rows) with all rows of a file, in order, some at a time. Throws DataError that names
/// the row where one has no answers.
void for_text_rows(const std::filesystem::path& file,
                   const std::function<void(const std::vector<TextRow>&)>& fn);

/// The texts that judges read: a row's answers, steps put together.
std::vector<std::string> answers_of(const TextRow& row);

/// A row of a file of prompts.
struct PromptRow {
  std::string where, text;
};

/// The texts under "prompt"; other keys are not read. Throws DataError that names a row without
/// one.
std::vector<PromptRow> read_prompts(const std::filesystem::path& file);

}  // namespace luce::cli
