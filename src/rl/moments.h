// Mean and deviation, exact where all values are equal.
#pragma once

#include <vector>

namespace luce {

struct Moments {
  double mean = 0;
  double deviation = 0;  // unbiased; 0 of a single value
  double count = 0;
};

/// Of all values but NaN. The mean is taken around the first value, so that equal values have
/// themselves as mean and a deviation of exactly 0.
Moments moments_of(const std::vector<double>& values);

}  // namespace luce
