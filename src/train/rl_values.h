// Helpers of the files that make up RlTask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace luce {

inline size_t as_index(int64_t i) { return static_cast<size_t>(i); }

/// Appends [begin, end) of `from`.
inline void append_range(std::vector<double>& to, const std::vector<double>& from, int64_t begin,
                         int64_t end) {
  to.insert(to.end(), from.begin() + begin, from.begin() + end);
}

}  // namespace luce
