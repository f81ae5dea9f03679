#include "luce/data/hash.h"

#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <vector>

#include "luce/base/error.h"

namespace luce {

struct Hasher::State {
  XXH3_state_t* state = XXH3_createState();
  ~State() { XXH3_freeState(state); }
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  if (state_->state == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->state);
}
Hasher::~Hasher() = default;

Hasher& Hasher::bytes(std::string_view piece) {
  XXH3_128bits_update(state_->state, piece.data(), piece.size());
  return *this;
}

Hasher& Hasher::field(std::string_view value) {
  return field(static_cast<int64_t>(value.size())).bytes(value);
}

Hasher& Hasher::field(int64_t value) {
  std::array<char, 8> little{};
  for (size_t i = 0; i < 8; ++i)
    little[i] = static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
  return bytes({little.data(), little.size()});
}

Digest Hasher::digest() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_->state));
  Digest out;
  std::copy(std::begin(canonical.digest), std::end(canonical.digest), out.begin());
  return out;
}

std::string hex(const Digest& digest) {
  std::string out;
  for (const uint8_t byte : digest) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

Digest hash_file(const std::filesystem::path& path) {
  // Asked before it is opened: opening a FIFO would wait for a writer.
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw MissingFileError(cat("cannot read ", path.string(), ": it is not a regular file"));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw MissingFileError(cat("cannot read ", path.string(), ": ", std::strerror(errno)));
  Hasher hasher;
  std::vector<char> buffer(size_t{1} << 18);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hasher.bytes({buffer.data(), static_cast<size_t>(file.gcount())});
  }
  if (file.bad()) throw MissingFileError(cat("cannot read all of ", path.string()));
  return hasher.digest();
}

}  // namespace luce
