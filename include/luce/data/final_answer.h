// The answer at which a solution arrives.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace luce {

/// The final answer in `text` without the white space around it, the first of these that is there:
/// the line after the last `####` (of it the content of its last \boxed{…}, where it has one); the
/// content of the last \boxed{…} whose braces balance; with `last_number` the last number. No value
/// where there is none.
std::optional<std::string> final_answer(std::string_view text, bool last_number = false);

}  // namespace luce
