#include "luce/base/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace luce {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

uint64_t Random::bits(uint64_t step, uint64_t sample, uint32_t position) const {
  // The counter holds sample (64 bits), the step's low word and the position; purpose and the
  // step's high word are folded into the key, so that every argument changes the block.
  const auto out = philox(
      {static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32),
       static_cast<uint32_t>(step), position},
      {static_cast<uint32_t>(seed_) ^ static_cast<uint32_t>(step >> 32),
       static_cast<uint32_t>(seed_ >> 32) ^ (static_cast<uint32_t>(purpose_) * 0x85EBCA6BU)});
  return (uint64_t{out[0]} << 32) | out[1];
}

double Random::uniform(uint64_t step, uint64_t sample, uint32_t position) const {
  return static_cast<double>(bits(step, sample, position) >> 11) * 0x1.0p-53;
}

double Random::normal(uint64_t step, uint64_t sample, uint32_t position) const {
  const uint64_t word = bits(step, sample, position);
  const double u = (static_cast<double>(word >> 32) + 1.0) * 0x1.0p-32;  // (0, 1]
  const double v = static_cast<double>(word & 0xFFFFFFFFU) * 0x1.0p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * 3.14159265358979323846 * v);
}

std::vector<int64_t> Random::permutation(uint64_t epoch, int64_t n) const {
  std::vector<uint64_t> key(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    key[static_cast<size_t>(i)] = bits(epoch, static_cast<uint64_t>(i), 0);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const auto ka = key[static_cast<size_t>(a)], kb = key[static_cast<size_t>(b)];
    return ka != kb ? ka < kb : a < b;
  });
  return order;
}

}  // namespace luce
