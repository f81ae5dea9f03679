// Row sums of a chunk's targets over runs of tiles, merged in the same order on any number of
// threads.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/kernels.h"

namespace luce {

/// Row sums are merged over runs of this many tiles, whatever the number of threads.
inline constexpr int64_t kRun = 4;

/// RowSums of a chunk's targets for every run of tiles, and the entry with the largest logit.
struct RunSums {
  int64_t targets = 0;
  std::vector<float> values;  // [runs, 5, targets]
  std::vector<int32_t> best;  // [runs, targets]

  RunSums(int64_t runs, int64_t n) : targets(n), values(static_cast<size_t>(runs * 5 * n)) {
    for (int64_t r = 0; r < runs; ++r)
      std::fill_n(at(r, 0), n, -std::numeric_limits<float>::infinity());
    best.resize(static_cast<size_t>(runs * n));
  }
  float* at(int64_t run, int64_t sum) { return values.data() + (run * 5 + sum) * targets; }
  kernels::SumArrays arrays(int64_t run, int64_t target) {
    return {at(run, 0) + target, at(run, 1) + target, at(run, 2) + target, at(run, 3) + target,
            at(run, 4) + target};
  }
  kernels::RowSums<float> of(int64_t run, int64_t target) {
    const auto a = arrays(run, target);
    return {*a.max, *a.exp, *a.shifted, *a.square, *a.total};
  }
};

}  // namespace luce
