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
  /// Wraps a value that stood in no file; `name` stands for it in errors.
  static Document of(Json value, std::string name);
  /// Reads and parses a file. Throws MissingFileError, UsageError.
  static Document read(const std::string& path);

  /// Applies `key.path=value`. The value is JSON where it parses as JSON, else a string; a number
  /// in the path indexes an array. Throws UsageError where the path leads through a value that is
  /// not an object or an array, and where the assignment is not UTF-8.
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

/// The JSON pointer to `key` of the object at `pointer`.
std::string pointer_to(const std::string& pointer, const std::string& key);

/// The start of `text`, cut between two characters, with "…" where something is left out.
std::string shortened(const std::string& text, size_t bytes = 60);

/// The line (from 1) on which the key or value at `pointer` stands in `text`, or 0.
int line_of(std::string_view text, const std::string& pointer);

/// The candidate nearest to `word`, or "" where none is near: for "did you mean".
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace luce
