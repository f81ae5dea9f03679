// The demo's data files: JSON rows as `luce train` and `luce generate` read them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "luce/base/json.h"

namespace luce::demo {

/// A row for pre-training: the whole text.
Json text_row(const std::string& text);
/// A row for preference training.
Json preference_row(const std::string& prompt, const std::string& chosen,
                    const std::string& rejected);
/// A row to sample from.
Json prompt_row(const std::string& prompt);

/// Writes a `.jsonl` file, one row a line. Throws WriteError.
void write_rows(const std::filesystem::path& path, const std::vector<Json>& rows);

}  // namespace luce::demo
