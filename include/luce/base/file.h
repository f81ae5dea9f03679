// Files: reading whole files, and writing so that a reader sees the old content or the new, never
// a part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace luce {

/// The content of a regular file. Throws MissingFileError where it cannot be opened or is not a
/// regular file (a folder, a FIFO, a device), DataError where it holds more than `limit` bytes.
std::string read_file(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 40);

/// Writes `content` to a temporary sibling, syncs it and renames it over `path`. Throws WriteError.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

/// Fills a new folder beside `path` through `fill(temporary)`, syncs every file in it and renames
/// it to `path`; a folder that stood there is replaced. After any crash `path` is the old folder or
/// the new one, or, between two renames, absent with the old one beside it as `path.old`.
/// Throws WriteError.
void write_folder_atomic(const std::filesystem::path& path,
                         const std::function<void(const std::filesystem::path&)>& fill);

/// Makes a folder and its parents. Throws WriteError.
void make_folder(const std::filesystem::path& path);

}  // namespace luce
