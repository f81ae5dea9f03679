// One row of a data file: from JSON to its texts, and from texts to token ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "luce/base/json.h"
#include "luce/data/dataset.h"

namespace luce {

/// The texts of a row. For `text` rows the text is the one completion; `input_ids` rows have `ids`.
struct RowTexts {
  std::string prompt;
  std::vector<std::string> completions;
  std::vector<int64_t> ids;
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
