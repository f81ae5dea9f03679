// What a model folder holds beside config and weights.
#pragma once

#include <filesystem>

namespace luce {

/// Copies, byte for byte, the files of tokenizer, chat template and generation settings that `from`
/// has; those it lacks are left as they are in `to`. Throws MissingFileError where one cannot be
/// read, WriteError where one cannot be written.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace luce
