// One row of a data file: from JSON to its texts, and from texts to token ids.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "luce/base/json.h"
#include "luce/data/dataset.h"

namespace luce {

/// A row's columns under the names that Luce has for them; a null counts as absent. It refers to
/// the row and the options. What reads a value throws DataError where it is missing or wrong.
class Columns {
 public:
  Columns(const Json& row, const DatasetOptions& options) : row_(row), names_(options.column_map) {}

  /// Null where there is no such column.
  const Json* find(const std::string& column) const;
  bool has(const std::string& column) const { return find(column) != nullptr; }
  /// The column's name in the file, in quotes.
  std::string quoted(const std::string& column) const;

  /// A string without NUL characters.
  std::string text(const std::string& column) const;
  std::vector<std::string> texts(const std::string& column) const;
  /// A string, or a whole number as one.
  std::string name(const std::string& column) const;
  double number(const std::string& column) const;
  std::vector<double> numbers(const std::string& column) const;
  /// true, false, 1 or 0.
  bool flag(const std::string& column) const;
  std::vector<bool> flags(const std::string& column) const;
  std::vector<int64_t> token_ids(const std::string& column) const;

 private:
  const Json& needed(const std::string& column) const;
  template <class Kind>
  auto one(const std::string& column, const Kind& kind) const;
  template <class Kind>
  auto list(const std::string& column, const Kind& kind) const;

  const Json& row_;
  const std::map<std::string, std::string>& names_;
};

/// What a row says, before it is tokenized.
struct RowTexts {
  std::string prompt;
  std::vector<std::string> completions;  // `text` rows: the text; `stepwise` rows: the steps
  std::vector<int64_t> ids;              // of `input_ids` rows
  Example judged;                        // without tokens, and with steps that end nowhere yet
  std::optional<std::string> rater;
  bool rated = false;  // with a rating that is ignored
  bool swapped = false, tied = false;
};

/// What became of a row.
struct RowTokens {
  enum class Fate { kept, too_long, empty };
  Fate fate = Fate::kept;
  bool truncated = false, boundary = false;
  Example example;  // of a kept row
};

/// Bytes of the prompt that chosen and rejected share (TRL's rule for implicit prompts): their
/// longest common prefix in whole characters, less a space at its end, which belongs to the
/// completions. Where one text is a prefix of the other, all of the shorter one.
size_t shared_prompt(std::string_view chosen, std::string_view rejected);

/// The type that the keys of a row speak for, or nothing.
std::optional<RowType> detect_type(const Json& row, const DatasetOptions& options);

/// Takes what `type` needs out of a row. Throws DataError on a missing or wrong value.
RowTexts read_row(const Json& row, RowType type, const DatasetOptions& options);

/// Whether a row holds lists of chat messages where texts are expected.
bool is_conversational(const Json& row, const DatasetOptions& options);

/// Turns a row into ids. `tokenizer` may be null for input_ids. Throws DataError on a row that
/// cannot be used.
RowTokens tokenize_row(const RowTexts& texts, RowType type, const Tokenizer* tokenizer,
                       const DatasetOptions& options);

}  // namespace luce
