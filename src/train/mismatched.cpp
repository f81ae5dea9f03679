#include "train/mismatched.h"

#include <algorithm>

namespace luce {

std::vector<Example> with_mismatched(const std::vector<const Example*>& rows, int64_t max_length) {
  std::vector<Example> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Example &row = *rows[i], &other = *rows[(i + rows.size() - 1) % rows.size()];
    Example wide = row;
    wide.roles.clear();
    for (size_t k = 0; k < row.completions.size(); ++k) wide.roles.push_back(row.role(k));
    for (size_t k = 0; k < row.completions.size(); ++k) {
      if (row.role(k) == Role::gold) continue;
      auto answer = other.completions[std::min(k, other.completions.size() - 1)];
      const auto room = static_cast<size_t>(max_length) - row.prompt.size();
      answer.resize(std::min(answer.size(), room));
      wide.completions.push_back(std::move(answer));
      wide.roles.push_back(Role::mismatched);
    }
    out.push_back(std::move(wide));
  }
  return out;
}

}  // namespace luce
