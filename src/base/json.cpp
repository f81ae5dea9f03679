#include "luce/base/json.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <iterator>
#include <set>

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace {

/// "LINE:COLUMN" of the byte at `at`, all from 1; of the last byte where the text ends before it.
std::string position(std::string_view text, size_t at) {
  const auto head = text.substr(0, std::min(at, std::max<size_t>(text.size(), 1) - 1));
  const auto line = 1 + std::count(head.begin(), head.end(), '\n');
  return cat(line, ":", head.size() - (head.rfind('\n') + 1) + 1);  // npos + 1 is 0
}

/// Reads text through a pointer that the reader's copies share, so that the events of the parser,
/// which tell no position, can be placed.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char** at;

  reference operator*() const { return **at; }
  Cursor& operator++() {
    ++*at;
    return *this;
  }
  bool operator==(const Cursor& other) const { return *at == *other.at; }
  bool operator!=(const Cursor& other) const { return *at != *other.at; }
};

/// Builds the value while it checks what nlohmann's own builder lets pass: duplicate keys, depth.
class Builder : public nlohmann::json_sax<Json> {
 public:
  /// `*read` is where the parser's reading stands in `text`.
  Builder(std::string_view text, const std::string& name, int max_depth, const char* const* read)
      : text_(text), name_(name), max_depth_(max_depth), read_(read) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& value) override {
    if (!keys_.back().insert(value).second)
      fail(start_of_key(), cat("the key \"", shortened(value), "\" stands twice in one object"));
    key_ = value;
    return true;
  }
  bool parse_error(size_t byte, const std::string& token,
                   const nlohmann::detail::exception&) override {
    fail(byte - 1, token.empty() ? std::string("not valid JSON here")
                                 : cat("not valid JSON near '", shortened(token), "'"));
  }

  Json take() { return std::move(root_); }

 private:
  [[noreturn]] void fail(size_t at, const std::string& what) const {
    throw DataError(cat(name_, ":", position(text_, at), ": ", what));
  }
  size_t read() const { return static_cast<size_t>(*read_ - text_.data()); }
  /// The opening quote of the key that was just read: the nearest one that no backslash escapes.
  size_t start_of_key() const {
    for (size_t at = read() - 1;;) {
      at = text_.rfind('"', at - 1);
      size_t backslashes = 0;
      while (text_[at - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) return at;
    }
  }
  bool put(Json value) {
    add(std::move(value));
    return true;
  }
  Json* add(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    // The key is known to be new: append without the linear search of ordered_json.
    auto& object = parent.get_ref<Json::object_t&>();
    static_cast<std::vector<std::pair<const std::string, Json>>&>(object).emplace_back(
        key_, std::move(value));
    return &object.back().second;
  }
  bool open(Json container) {
    if (static_cast<int>(stack_.size()) >= max_depth_)
      fail(read() - 1, cat("nested deeper than ", max_depth_, " levels"));
    stack_.push_back(add(std::move(container)));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& name_;
  int max_depth_;
  const char* const* read_;
  Json root_;
  std::vector<Json*> stack_;
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

/// Walks JSON text that is known to be valid, to find the line of one value.
class Locator {
 public:
  Locator(std::string_view text, std::string pointer) : text_(text), wanted_(std::move(pointer)) {}
  int find() {
    value("");
    return line_;
  }

 private:
  void space() {
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_])) ||
          text_.substr(at_, 3) == "\xEF\xBB\xBF") {
        at_ += text_[at_] == '\xEF' ? 3 : 1;
      } else if (text_.substr(at_, 2) == "//") {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (text_.substr(at_, 2) == "/*") {
        const auto end = text_.find("*/", at_);
        at_ = end == std::string_view::npos ? text_.size() : end + 2;
      } else {
        return;
      }
    }
  }
  std::string quoted() {
    const size_t begin = at_++;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
    return Json::parse(text_.substr(begin, at_ - begin)).get<std::string>();
  }
  void mark(const std::string& pointer) {
    if (line_ == 0 && pointer == wanted_)
      line_ = 1 + static_cast<int>(
                      std::count(text_.begin(), text_.begin() + static_cast<long>(at_), '\n'));
  }
  void value(const std::string& pointer) {
    space();
    mark(pointer);
    if (line_ != 0 || at_ >= text_.size()) return;
    const char open = text_[at_];
    if (open == '"') {
      quoted();
    } else if (open == '{' || open == '[') {
      ++at_;
      for (int64_t index = 0;; ++index) {
        space();
        if (at_ < text_.size() && text_[at_] == ',') {
          ++at_;
          space();
        }
        if (at_ >= text_.size() || text_[at_] == '}' || text_[at_] == ']') break;
        std::string child = cat(pointer, "/", index);
        if (open == '{') {
          const size_t key_at = at_;
          child = pointer_to(pointer, quoted());
          const size_t after = at_;
          at_ = key_at;
          mark(child);
          at_ = after;
          space();
          ++at_;  // the colon
        }
        value(child);
        if (line_ != 0) return;
      }
      ++at_;
    } else {
      while (at_ < text_.size() && !std::strchr(",]} \t\r\n/", text_[at_])) ++at_;
    }
  }
  std::string_view text_;
  std::string wanted_;
  size_t at_ = 0;
  int line_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& name, const JsonOptions& options) {
  if (const size_t nul = text.find('\0');
      nul != std::string_view::npos)  // nlohmann would stop there
    throw DataError(cat(name, ":", position(text, nul), ": not valid JSON: a NUL byte"));
  const char *at = text.data(), *end = text.data() + text.size();
  Builder builder(text, name, options.max_depth, &at);
  Json::sax_parse(Cursor{&at}, Cursor{&end}, &builder, nlohmann::json::input_format_t::json, true,
                  options.comments);
  return builder.take();
}

Document::Document(std::string text, std::string name)
    : name_(std::move(name)), text_(std::move(text)) {
  try {
    value_ = parse_json(text_, name_, {.comments = true, .max_depth = 64});
  } catch (const DataError& failure) {
    throw UsageError(failure.what());
  }
  if (!value_.is_object()) throw UsageError(cat(name_, ": a config is a JSON object { … }"));
}

Document Document::of(Json value, std::string name) {
  Document out;
  out.value_ = std::move(value);
  out.name_ = std::move(name);
  return out;
}

Document Document::read(const std::string& path) {
  return Document(read_file(path, uint64_t{1} << 24), path);
}

void Document::override_with(const std::string& assignment) {
  const auto equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    throw UsageError(cat("command line: expected key.path=value, got \"", assignment, "\""));
  try {
    (void)Json(assignment).dump();
  } catch (const Json::type_error&) {
    throw UsageError(cat("command line: \"", assignment, "\" is not valid UTF-8"));
  }
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  Json value;
  try {
    value = parse_json(text, "");
  } catch (const DataError&) {
    value = text;
  }

  Json* at = &value_;
  std::string pointer;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('.', begin), path.size());
    const std::string key = path.substr(begin, end - begin);
    if (at->is_null()) *at = Json::object();
    if (at->is_array()) {
      const bool index =
          !key.empty() && key.size() < 9 &&
          std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (!index || std::stoul(key) >= at->size())
        throw UsageError(cat("command line (", assignment, "): \"", key,
                             "\" is no index of a list of ", at->size(), " entries"));
      at = &(*at)[std::stoul(key)];
    } else if (at->is_object()) {
      at = &(*at)[key];
    } else {
      throw UsageError(cat("command line (", assignment, "): ", path.substr(0, begin - 1),
                           " is a plain value, so \"", key, "\" cannot stand inside it"));
    }
    pointer = pointer_to(pointer, key);
    begin = end + 1;
  }
  *at = std::move(value);
  overrides_.emplace_back(pointer, assignment);
}

const Json* Document::find(const std::string& pointer) const {
  const Json::json_pointer at(pointer);
  return value_.contains(at) ? &value_.at(at) : nullptr;
}

std::string Document::where(const std::string& pointer) const {
  for (auto it = overrides_.rbegin(); it != overrides_.rend(); ++it)
    if (pointer == it->first || pointer.rfind(it->first + "/", 0) == 0)
      return cat("command line (", it->second, ")");
  const int line = text_.empty() ? 0 : line_of(text_, pointer);
  return line > 0 ? cat(name_, ":", line) : name_;
}

std::string pointer_to(const std::string& pointer, const std::string& key) {
  std::string out = pointer + "/";
  for (const char c : key) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

std::string shortened(const std::string& text, size_t bytes) {
  if (text.size() <= bytes) return text;
  size_t end = bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

int line_of(std::string_view text, const std::string& pointer) {
  return Locator(text, pointer).find();
}

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  // Damerau–Levenshtein distance (adjacent swaps count one), at most a third of the word away.
  std::string best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const size_t n = word.size(), m = candidate.size();
    if (std::max(n, m) - std::min(n, m) >= best_distance) continue;  // too far, whatever they hold
    std::vector<std::vector<size_t>> d(n + 1, std::vector<size_t>(m + 1));
    for (size_t i = 0; i <= n; ++i) d[i][0] = i;
    for (size_t j = 0; j <= m; ++j) d[0][j] = j;
    for (size_t i = 1; i <= n; ++i)
      for (size_t j = 1; j <= m; ++j) {
        const size_t change = word[i - 1] != candidate[j - 1];
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1])
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    if (d[n][m] < best_distance) {
      best_distance = d[n][m];
      best = candidate;
    }
  }
  return best;
}

}  // namespace luce
