// Regular expressions whose time grows with the text and not with its square, and whose stack does
// not grow with the text at all: fit for texts that a model wrote.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace luce {

/// A regular expression of ECMAScript, compiled once, matched byte by byte. `.` is any byte but a
/// line end (`[\s\S]` is any byte), `^` and `$` are the ends of the whole text. Not accepted, since
/// they cannot be matched in linear time: backreferences and lookahead.
class Pattern {
 public:
  /// Throws UsageError where `expression` is not valid, uses what is not accepted, or is too large:
  /// its bytes times the product of its counts {n} exceed 20 000.
  explicit Pattern(const std::string& expression);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// Whether all of `text` matches.
  bool matches(std::string_view text) const;
  /// Whether some part of `text` matches.
  bool is_found_in(std::string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace luce
