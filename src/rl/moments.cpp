#include "rl/moments.h"

#include <cmath>

namespace luce {

Moments moments_of(const std::vector<double>& values) {
  Moments m;
  double first = NAN, sum = 0, squares = 0;
  for (const double x : values) {
    if (std::isnan(x)) continue;
    if (m.count == 0) first = x;
    sum += x - first;
    m.count += 1;
  }
  m.mean = m.count > 0 ? first + sum / m.count : 0;
  for (const double x : values)
    if (!std::isnan(x)) squares += (x - m.mean) * (x - m.mean);
  m.deviation = m.count > 1 ? std::sqrt(squares / (m.count - 1)) : 0;
  return m;
}

}  // namespace luce
