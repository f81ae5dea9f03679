#include "luce/data/final_answer.h"

#include <vector>

#include "luce/data/number.h"

namespace luce {
namespace {

std::string_view line_after_marker(std::string_view text) {
  const size_t marker = text.rfind("####");
  if (marker == std::string_view::npos) return {};
  text = trimmed(text.substr(marker + 4));
  return trimmed(text.substr(0, text.find('\n')));
}

/// One pass with a stack of open braces: linear however many are never closed.
std::string_view last_boxed(std::string_view text) {
  constexpr std::string_view name = "\\boxed{";
  std::vector<size_t> open;  // where the content of each brace begins, 0 where it is not a box's
  size_t begin = 0, end = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, name.size()) == name) {
      i += name.size() - 1;
      open.push_back(i + 1);
    } else if (text[i] == '\\') {
      ++i;  // \{ and \} are characters of the text
    } else if (text[i] == '{') {
      open.push_back(0);
    } else if (text[i] == '}' && !open.empty()) {
      if (open.back() > begin) {
        begin = open.back();
        end = i;
      }
      open.pop_back();
    }
  }
  return trimmed(text.substr(begin, end - begin));
}

}  // namespace

std::optional<std::string> final_answer(std::string_view text, bool last_number) {
  if (const auto line = line_after_marker(text); !line.empty()) {
    const auto boxed = last_boxed(line);
    return std::string(boxed.empty() ? line : boxed);
  }
  if (const auto boxed = last_boxed(text); !boxed.empty()) return std::string(boxed);
  return last_number ? find_last_number(text) : std::nullopt;
}

}  // namespace luce
