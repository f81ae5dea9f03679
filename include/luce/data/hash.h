// Content hashes for cache keys and checksums: XXH3, 128 bits.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace luce {

/// 16 bytes, most significant first.
using Digest = std::array<uint8_t, 16>;

/// A hash that is fed in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  /// Adds bytes as they are: two pieces hash as their concatenation.
  Hasher& bytes(std::string_view piece);
  /// Adds a string with its length before it, so that fields cannot run into each other.
  Hasher& field(std::string_view value);
  Hasher& field(int64_t value);

  Digest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 32 hexadecimal digits.
std::string hex(const Digest& digest);

/// Hash of a file's bytes, read in pieces. Throws MissingFileError.
Digest hash_file(const std::filesystem::path& path);

}  // namespace luce
