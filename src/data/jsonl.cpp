#include "luce/data/jsonl.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "luce/base/error.h"
#include "luce/data/utf8.h"

namespace luce {
namespace {

constexpr size_t kLargeRow = size_t{1} << 20;  // bytes

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool is_blank(int c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/// `text` as valid UTF-8, for messages about bytes that are not.
std::string readable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    out += length > 0 ? text.substr(0, length) : std::string_view("\xEF\xBF\xBD");
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

/// Parses one row. Its position in the file is the caller's to name.
Json parse_row(const std::string& text, int max_depth) {
  if (text.find('\0') != std::string::npos) throw DataError("a NUL byte");
  Json value;
  try {
    value = parse_json(text, "", {.comments = false, .max_depth = max_depth});
  } catch (const DataError& failure) {
    // ":1:17: not valid JSON …": where the row is one line, its column says it all.
    const std::string what = readable(failure.what());
    if (what.rfind(":1:", 0) == 0) throw DataError("column " + what.substr(3));
    const auto colon = what.find(": ");
    throw DataError(colon == std::string::npos ? what : what.substr(colon + 2));
  }
  if (!value.is_object())
    throw DataError(cat("expected an object { … }, got ", value.is_array()    ? "a list"
                                                          : value.is_string() ? "a string"
                                                                              : value.dump()));
  return value;
}

}  // namespace

struct JsonlReader::File {
  gzFile gz = nullptr;  // reads plain files as they are
  std::vector<char> buffer = std::vector<char>(size_t{1} << 17);
  size_t at = 0, end = 0;
  ~File() {
    if (gz != nullptr) gzclose_r(gz);
  }
};

JsonlReader::JsonlReader(const std::filesystem::path& path, const JsonlOptions& options)
    : file_(std::make_unique<File>()), name_(path.string()), options_(options) {
  std::string plain = name_;
  if (ends_with(plain, ".gz")) plain.resize(plain.size() - 3);
  const bool is_json = ends_with(plain, ".json");
  if (!is_json && !ends_with(plain, ".jsonl"))
    throw UsageError(cat(name_, ": rows are read from .jsonl and .json files, both also with .gz"));

  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not block
  if (fd < 0) throw MissingFileError(cat("cannot read ", name_, ": ", std::strerror(errno)));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    throw MissingFileError(cat("cannot read ", name_, ": it is not a regular file"));
  }
  file_->gz = gzdopen(fd, "rb");
  if (file_->gz == nullptr) {
    ::close(fd);
    throw ResourceError(cat("cannot read ", name_, ": no memory"));
  }
  gzbuffer(file_->gz, 1 << 17);

  while (fill() && file_->end < 3 && !gzeof(file_->gz)) {
  }
  if (file_->end >= 3 && std::memcmp(file_->buffer.data(), "\xEF\xBB\xBF", 3) == 0) file_->at = 3;
  if (is_json) {
    while (is_blank(peek())) ++file_->at;
    is_list_ = peek() == '[';
    if (is_list_) ++file_->at;
  }
}

JsonlReader::~JsonlReader() = default;

std::string JsonlReader::where(int64_t number) const {
  return cat(name_, is_list_ ? ": entry " : ":", number);
}

void JsonlReader::fail(const std::string& what) const {
  throw DataError(cat(name_, ": ", what, ", after ", number_, is_list_ ? " entries" : " lines"));
}

/// Reads more bytes behind those that wait; false at the end of the file.
bool JsonlReader::fill() {
  File& f = *file_;
  if (f.at == f.end) f.at = f.end = 0;
  if (f.end == f.buffer.size()) return true;
  const int n =
      gzread(f.gz, f.buffer.data() + f.end, static_cast<unsigned>(f.buffer.size() - f.end));
  int code = Z_OK;
  std::string_view message = gzerror(f.gz, &code);
  if (message.substr(0, 4) == "<fd:")
    message.remove_prefix(std::min(message.find(' ') + 1, message.size()));
  if (code == Z_BUF_ERROR) fail("the compressed data is cut off");
  if (n < 0 || code < 0)
    fail(code == Z_ERRNO ? cat("cannot read on: ", std::strerror(errno))
                         : cat("the compressed data is damaged (", message, ")"));
  f.end += static_cast<size_t>(n);
  return n > 0;
}

/// The next byte, or −1 at the end of the file.
int JsonlReader::peek() {
  if (file_->at == file_->end && !fill()) return -1;
  return static_cast<unsigned char>(file_->buffer[file_->at]);
}

/// Adds to the current row, or gives it up where it is too long.
void JsonlReader::hold(std::string_view part, bool& too_long) {
  too_long = too_long || text_.size() + part.size() > options_.max_row;
  if (too_long) {
    std::string().swap(text_);
    return;
  }
  // From here on one reservation, of which only what is written costs memory: no copies in growth.
  if (text_.size() + part.size() > kLargeRow && text_.capacity() < options_.max_row)
    text_.reserve(options_.max_row);
  text_ += part;
}

/// Reads up to the next line feed.
bool JsonlReader::read_line(bool& too_long) {
  if (peek() < 0) return false;
  ++number_;
  while (peek() >= 0) {
    const char* begin = file_->buffer.data() + file_->at;
    const size_t n = file_->end - file_->at;
    const void* found = std::memchr(begin, '\n', n);
    const size_t length =
        found == nullptr ? n : static_cast<size_t>(static_cast<const char*>(found) - begin);
    hold({begin, length}, too_long);
    file_->at += length + (found != nullptr);
    if (found != nullptr) break;
  }
  if (!text_.empty() && text_.back() == '\r') text_.pop_back();
  return true;
}

/// Reads one entry of the list: up to a comma or the closing bracket that stands outside of it.
bool JsonlReader::read_entry(bool& too_long) {
  while (is_blank(peek())) ++file_->at;
  if (is_done_ || (number_ == 0 && peek() == ']')) {
    if (!is_done_) ++file_->at;
    is_done_ = true;
    while (is_blank(peek())) ++file_->at;
    if (peek() >= 0) fail("more text after the end of the list");
    return false;
  }
  int64_t depth = 0;
  bool in_string = false, escaped = false;
  while (true) {
    const int c = peek();
    if (c < 0) fail("the list does not end with ]");
    ++file_->at;
    if (in_string) {
      in_string = escaped || c != '"';
      escaped = !escaped && c == '\\';
    } else if (c == '"') {
      in_string = true;
    } else if (depth == 0 && (c == ',' || c == ']')) {
      is_done_ = c == ']';
      break;
    } else {
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
    }
    const char byte = static_cast<char>(c);
    hold({&byte, 1}, too_long);
  }
  ++number_;
  return true;
}

bool JsonlReader::next(JsonRow& row) {
  bool too_long = false;
  do {
    text_.clear();
    too_long = false;
    if (!(is_list_ ? read_entry(too_long) : read_line(too_long))) return false;
  } while (!is_list_ && !too_long && text_.find_first_not_of(" \t\r") == std::string::npos);

  row.number = number_;
  row.value = nullptr;
  row.problem.clear();
  if (too_long) {
    row.problem = cat("longer than ", options_.max_row, " bytes");
    return true;
  }
  try {
    row.value = parse_row(text_, options_.max_depth);
  } catch (const DataError& failure) {
    row.problem = failure.what();
  }
  if (text_.capacity() > (size_t{1} << 20))
    std::string().swap(text_);  // do not keep a giant's memory
  return true;
}

}  // namespace luce
