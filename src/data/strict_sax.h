// Reading JSON of a known form, event by event, so that a hostile file is refused at its first
// wrong value and never grows into a tree in memory.
#pragma once

#include <string>
#include <string_view>

#include "luce/base/error.h"
#include "luce/base/json.h"

namespace luce {

/// `text` in quotes with control characters escaped and at most about 100 bytes: fit for an error.
inline std::string in_quotes(const std::string& text) {
  const bool cut = text.size() > 100;
  return Json(cut ? text.substr(0, 100) + "…" : text)
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Every event is unexpected until a derived class overrides it.
class StrictSax : public nlohmann::json_sax<Json> {
 public:
  /// `name` stands for the file in errors.
  explicit StrictSax(std::string name) : name_(std::move(name)) {}

  /// Feeds `text` through the events. Throws DataError where it is not JSON in UTF-8.
  void parse(std::string_view text) {
    // The parser takes a NUL byte for the end of the text.
    if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
      fail(cat("not valid JSON: byte ", nul, " is NUL"));
    Json::sax_parse(text.begin(), text.end(), this);
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(int64_t value) override { return unexpected(cat(value)); }
  bool number_unsigned(uint64_t value) override { return unexpected(cat(value)); }
  bool number_float(double, const std::string& text) override { return unexpected(text); }
  bool string(std::string& value) override { return unexpected(in_quotes(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return unexpected("an object"); }
  bool start_array(size_t) override { return unexpected("a list"); }
  bool key(std::string&) override { return true; }
  bool end_object() override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t byte, const std::string&,
                   const nlohmann::detail::exception& failure) override {
    const bool utf8 = std::string_view(failure.what()).find("UTF-8") != std::string_view::npos;
    fail(cat("not valid JSON: ", utf8 ? "not UTF-8 " : "", "at byte ", byte));
  }

 protected:
  /// A value that does not belong where it stands; `got` describes it. True: read on.
  virtual bool unexpected(const std::string& got) = 0;
  [[noreturn]] void fail(const std::string& what) const { throw DataError(cat(name_, ": ", what)); }

 private:
  std::string name_;
};

}  // namespace luce
