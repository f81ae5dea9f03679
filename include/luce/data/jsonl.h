// Rows of JSON from `.jsonl`, `.jsonl.gz`, and a list of objects in `.json`, `.json.gz`: one at a
// time, in memory that does not grow with the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "luce/base/json.h"

namespace luce {

struct JsonlOptions {
  size_t max_row = size_t{64} << 20;  // bytes; a longer row is skipped without being held
  int max_depth = 64;
};

/// One row: a JSON object, or why there is none.
struct JsonRow {
  int64_t number = 0;  // from 1: the line, or in a list the place
  Json value;
  std::string problem;  // "" where `value` is good
};

/// Reads the rows of a file in order. Refused as a problem of the row: text that is no JSON object,
/// invalid UTF-8, lone surrogates, duplicate keys, NaN and Infinity, NUL bytes, nesting and length
/// beyond the limits. Accepted: a byte order mark, CRLF, blank lines, a last line without its end.
class JsonlReader {
 public:
  /// Throws MissingFileError; UsageError on another kind of file.
  explicit JsonlReader(const std::filesystem::path& path, const JsonlOptions& options = {});
  ~JsonlReader();
  JsonlReader(const JsonlReader&) = delete;
  JsonlReader& operator=(const JsonlReader&) = delete;

  /// Reads the next row; false at the end. Throws DataError where the file itself is broken:
  /// compressed data that is damaged or cut off, a list without its end.
  bool next(JsonRow& row);

  /// Names a row for a message: "pairs.jsonl:17", or "pairs.json: entry 17" in a list.
  std::string where(int64_t number) const;

 private:
  bool fill();
  int peek();
  void hold(std::string_view part, bool& too_long);
  bool read_line(bool& too_long);
  bool read_entry(bool& too_long);
  [[noreturn]] void fail(const std::string& what) const;

  struct File;
  std::unique_ptr<File> file_;
  std::string name_, text_;  // text_: of the current row
  JsonlOptions options_;
  int64_t number_ = 0;
  bool is_list_ = false, is_done_ = false;
};

}  // namespace luce
