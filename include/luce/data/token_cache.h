// Tokenized rows on disk, found again by everything that they depend on.
#pragma once

#include <filesystem>
#include <optional>

#include "luce/data/dataset.h"
#include "luce/data/hash.h"

namespace luce {

/// The key of a file's rows: its bytes, the tokenizer, the options and the version of the format.
/// Throws MissingFileError.
Digest cache_key(const std::filesystem::path& file, const Tokenizer* tokenizer,
                 const DatasetOptions& options);

/// The rows under `key`, or nothing. A damaged cache file is nothing too, with a warning.
std::optional<Dataset> read_cache(const std::filesystem::path& folder, const Digest& key);

/// Keeps rows under `key`. A folder that cannot be written is a warning.
void write_cache(const std::filesystem::path& folder, const Digest& key, const Dataset& dataset);

}  // namespace luce
