// JSON with comments, and a document that knows on which line each of its values stands.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

/// Objects keep the order of their keys, so that a file we rewrite keeps its look.
using Json = nlohmann::ordered_json;

struct JsonOptions {
  bool comments = false;  // accept // and /* */
  int max_depth = 64;
};

/// Parses `text`. Throws DataError "NAME:LINE:COLUMN: …" on a syntax error, on invalid UTF-8, on a
/// duplicate key, and on nesting deeper than the limit.
Json parse_json(std::string_view text, const std::string& name, const JsonOptions& = {});

/// A config: its values, and where each came from.
class Document {
 public:
  Document() : value_(Json::object()) {}
  /// Parses `text` as JSON with comments. Throws UsageError with file, line and column.
  Document(std::string text, std::string name);
  /// Wraps a value that stood in no file.
  explicit Document(Json value, std::string name)
      : value_(std::move(value)), name_(std::move(name)) {}

  /// Reads and parses a file. Throws MissingFileError, UsageError.
  static Document read(const std::string& path);

  /// Applies `key.path=value`. The value is JSON where it parses as JSON, else a string; a number
  /// in the path indexes an array. Throws UsageError where the path leads through a value that is
  /// not an object or an array.
  void override_with(const std::string& assignment);

  const Json& value() const { return value_; }
  /// The value at a JSON pointer, or null.
  const Json* find(const std::string& pointer) const;
  /// "dpo.json:14", or "command line (loss.beta=2)" for a value that was overridden.
  std::string where(const std::string& pointer) const;

 private:
  Json value_;
  std::string name_, text_;
  std::vector<std::pair<std::string, std::string>> overrides_;  // pointer → assignment
};

/// The line (from 1) on which the key or value at `pointer` stands in `text`, or 0.
int line_of(std::string_view text, const std::string& pointer);

/// The candidate nearest to `word`, or "" where none is near: for "did you mean".
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace luce
