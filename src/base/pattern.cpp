// std::regex backtracks by default: exponential time, and a stack frame for every byte. With
// libstdc++'s __polynomial it follows all states at once instead (Thompson's simulation); the stack
// then grows with the expression, which is why its size is bounded here.
#include "luce/base/pattern.h"

#include <algorithm>
#include <cstdlib>
#include <locale>
#include <regex>

#include "luce/base/error.h"
#include "luce/base/json.h"

namespace luce {
namespace {

constexpr size_t kMaxSize = 20000;  // about 40 000 states, a third of an 8 MB stack

[[noreturn]] void refuse(const std::string& expression, const std::string& what) {
  throw UsageError(cat("the regular expression \"", shortened(expression), "\" ", what));
}

void check(const std::string& expression) {
  size_t size = expression.size();
  bool in_set = false;
  for (size_t i = 0; i < expression.size() && size <= kMaxSize; ++i) {
    const char c = expression[i];
    if (c == '\\') {
      ++i;
    } else if (in_set || c == '[') {
      in_set = c != ']';
    } else if (c == '(' &&
               (expression.compare(i, 3, "(?=") == 0 || expression.compare(i, 3, "(?!") == 0)) {
      refuse(expression, "uses lookahead, (?= or (?!, which cannot be matched in linear time");
    } else if (c == '{') {
      // {n,m}: m copies, or n where m is left out
      const char* at = expression.c_str() + i + 1;
      char* end = nullptr;
      size_t count = std::strtoul(at, &end, 10);
      if (*end == ',') count = std::max<size_t>(count, std::strtoul(end + 1, nullptr, 10));
      size *= std::clamp<size_t>(count, 1, kMaxSize + 1);
    }
  }
  if (size > kMaxSize)
    refuse(expression, cat("is too large: its ", expression.size(),
                           " bytes times the product of its counts {n} exceed ", kMaxSize));
}

std::regex compile(const std::string& expression) {
  std::regex regex;
  regex.imbue(std::locale::classic());
  regex.assign(expression,
               std::regex::ECMAScript | std::regex::nosubs | std::regex_constants::__polynomial);
  return regex;
}

bool match(const std::regex& regex, std::string_view text) {
  return std::regex_match(text.begin(), text.end(), regex);
}

}  // namespace

struct Pattern::Compiled {
  std::regex whole, part;
};

Pattern::Pattern(const std::string& expression) {
  check(expression);
  try {
    std::regex whole = compile(expression);
    // regex_search would begin anew at each byte of the text: quadratic.
    std::regex part = compile(cat("[\\s\\S]*(?:", expression, ")[\\s\\S]*"));
    compiled_ = std::make_unique<Compiled>(Compiled{std::move(whole), std::move(part)});
  } catch (const std::regex_error& failure) {
    if (failure.code() == std::regex_constants::error_complexity)
      refuse(expression, "uses a backreference, which cannot be matched in linear time");
    refuse(expression, cat("is not valid: ", failure.what()));
  }
}

Pattern::~Pattern() = default;
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;

bool Pattern::matches(std::string_view text) const { return match(compiled_->whole, text); }
bool Pattern::is_found_in(std::string_view text) const { return match(compiled_->part, text); }

}  // namespace luce
