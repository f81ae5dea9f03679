#include "luce/data/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "luce/base/error.h"
#include "luce/base/json.h"
#include "safetensors_header.h"
#include "strict_sax.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;

uint64_t little_endian(const unsigned char (&bytes)[8]) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

/// Reads exactly `size` bytes at `offset`.
void read_at(int fd, uint64_t offset, void* destination, uint64_t size, const fs::path& path) {
  auto* out = static_cast<char*>(destination);
  while (size > 0) {
    const ssize_t n = ::pread(fd, out, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      throw MissingFileError(cat("cannot read ", path.string(), ": ", std::strerror(errno)));
    if (n == 0) throw DataError(cat(path.string(), ": became shorter while it was read"));
    out += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<uint64_t>(n);
  }
}

/// A file that takes its name when it is complete; until then it is a temporary sibling, which goes
/// away with this object.
class NewFile {
 public:
  explicit NewFile(const fs::path& path)
      : path_(path), temporary_(path.string() + cat(".tmp-", ::getpid())) {
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) fail();
  }
  ~NewFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(const void* data, uint64_t size) {
    const auto* at = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t n = ::write(fd_, at, size);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail();
      at += n;
      size -= static_cast<uint64_t>(n);
    }
  }

  void commit() {
    if (::fsync(fd_) != 0 || ::close(std::exchange(fd_, -1)) != 0) fail();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail();
    temporary_.clear();
    const fs::path parent = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
    fd_ = ::open(parent.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0 || ::fsync(fd_) != 0) fail();
  }

 private:
  [[noreturn]] void fail() const {
    throw WriteError(cat("cannot write ", path_.string(), ": ", std::strerror(errno)));
  }

  fs::path path_, temporary_;
  int fd_ = -1;
};

/// The official writer's order of dtypes, by alignment.
int rank_of(DType dtype) {
  switch (dtype) {
    case DType::boolean:
      return 0;
    case DType::u8:
      return 1;
    case DType::i8:
      return 2;
    case DType::i16:
      return 3;
    case DType::f16:
      return 4;
    case DType::bf16:
      return 5;
    case DType::i32:
      return 6;
    case DType::f32:
      return 7;
    case DType::f64:
      return 8;
    case DType::i64:
      return 9;
  }
  return 0;
}

/// The header's text, padded so that the data begins at a multiple of 8.
std::string header_of(const std::vector<TensorData>& tensors,
                      const std::map<std::string, std::string>& metadata, const fs::path& path) {
  std::string out = "{", separator;
  try {
    if (!metadata.empty()) {
      out += "\"__metadata__\":" + Json(metadata).dump();
      separator = ",";
    }
    uint64_t begin = 0;
    for (const auto& t : tensors) {
      const uint64_t end = begin + size_of(t);
      out +=
          cat(separator, Json(t.name).dump(), ":{\"dtype\":\"", name_of(t.dtype),
              "\",\"shape\":", Json(t.shape).dump(), ",\"data_offsets\":[", begin, ",", end, "]}");
      separator = ",";
      begin = end;
    }
  } catch (const Json::type_error&) {
    throw ArgumentError(cat("cannot write ", path.string(), ": a name is not valid UTF-8"));
  }
  out += "}";
  out.append((8 - out.size() % 8) % 8, ' ');
  return out;
}

}  // namespace

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  throw ArgumentError("a DType that does not exist");
}

std::string name_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "F64";
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::i16:
      return "I16";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
  }
  throw ArgumentError("a DType that does not exist");
}

struct SafetensorsFile::Descriptor {
  explicit Descriptor(int number) : fd(number) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd;
};

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path) {
  const std::string name = path.string();
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  file_ = std::make_shared<Descriptor>(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file_->fd < 0) throw MissingFileError(cat("cannot read ", name, ": ", std::strerror(errno)));
  struct stat info {};
  if (::fstat(file_->fd, &info) != 0 || !S_ISREG(info.st_mode))
    throw MissingFileError(cat("cannot read ", name, ": it is not a regular file"));

  const auto size = static_cast<uint64_t>(info.st_size);
  unsigned char start[8];
  if (size < sizeof start)
    throw DataError(cat(name, ": ", size,
                        " bytes are too few for a safetensors file, which begins ",
                        "with the 8-byte length of its header"));
  read_at(file_->fd, 0, start, sizeof start, path);
  if (std::memcmp(start, "version ", sizeof start) == 0)
    throw DataError(
        cat(name, ": a Git LFS pointer, not the weights: fetch them with `git lfs pull`"));
  const uint64_t length = little_endian(start);
  if (length > kMaxHeader)
    throw DataError(cat(name, ": the header claims ", length, " bytes; at most ", kMaxHeader,
                        " are accepted. Is it a safetensors file?"));
  if (length > size - sizeof start)
    throw DataError(cat(name, ": the header claims ", length, " bytes, but only ",
                        size - sizeof start, " follow: the file is cut short"));
  data_begin_ = sizeof start + length;
  std::string text(length, '\0');
  read_at(file_->fd, sizeof start, text.data(), length, path);
  SafetensorsHeader header = parse_safetensors_header(text, size - data_begin_, name);
  tensors_ = std::move(header.tensors);
  by_name_ = std::move(header.by_name);
  metadata_ = std::move(header.metadata);
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto at =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](size_t i, const std::string& n) { return tensors_[i].name < n; });
  return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

void SafetensorsFile::read(const TensorInfo& tensor, void* destination) const {
  read_at(file_->fd, data_begin_ + tensor.begin, destination, tensor.end - tensor.begin, path_);
}

uint64_t size_of(const TensorData& tensor) {
  const auto bytes = byte_count(tensor.dtype, tensor.shape);
  if (!bytes)
    throw ArgumentError(cat("tensor ", in_quotes(tensor.name),
                            ": its shape has a negative size or too many elements"));
  return *bytes;
}

void write_safetensors(const fs::path& path, std::vector<TensorData> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto fail = [&](const auto&... parts) {
    throw ArgumentError(cat("cannot write ", path.string(), ": ", parts...));
  };
  std::sort(tensors.begin(), tensors.end(), [](const TensorData& a, const TensorData& b) {
    const int rank_a = rank_of(a.dtype), rank_b = rank_of(b.dtype);
    return rank_a != rank_b ? rank_a > rank_b : a.name < b.name;
  });
  const std::string header = header_of(tensors, metadata, path);
  uint64_t data_size = 0;
  for (const auto& t : tensors) {
    if (t.data == nullptr && size_of(t) > 0) fail("tensor ", in_quotes(t.name), " has no data");
    data_size += size_of(t);
  }
  // What we write, we can read: the reader's rules hold for names, ranks and sizes.
  if (header.size() > kMaxHeader) fail("the header would hold ", header.size(), " bytes");
  try {
    parse_safetensors_header(header, data_size, "the new header");
  } catch (const DataError& failure) {
    fail(failure.what());
  }

  NewFile file(path);
  unsigned char start[8];
  for (int i = 0; i < 8; ++i) start[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  file.write(start, sizeof start);
  file.write(header.data(), header.size());
  for (const auto& t : tensors) file.write(t.data, size_of(t));
  file.commit();
}

}  // namespace luce
