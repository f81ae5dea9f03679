// Randomness as a pure function: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy
// as 1, 2, 3", SC 2011). A value depends on (seed, purpose, step, sample, position) and on nothing
// else: there is no generator state, so reordering work or resuming a run changes no number.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace luce {

/// The Philox4x32-10 block function: 128 random bits from a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// What a random number is for. Streams of different purposes are independent.
enum class Purpose : uint32_t {
  shuffle = 1,
  init = 2,
  sample = 3,
  dropout = 4,
  demo = 5,
  test = 6,
  heads = 7
};

/// A family of random numbers, addressed by (step, sample, position).
class Random {
 public:
  Random(uint64_t seed, Purpose purpose) : seed_(seed), purpose_(purpose) {}

  /// 64 random bits.
  uint64_t bits(uint64_t step, uint64_t sample, uint32_t position) const;
  /// Uniform in [0, 1), 53 bits.
  double uniform(uint64_t step, uint64_t sample, uint32_t position) const;
  /// Standard normal (Box–Muller).
  double normal(uint64_t step, uint64_t sample, uint32_t position) const;
  /// A permutation of 0 … n−1 that belongs to `epoch`.
  std::vector<int64_t> permutation(uint64_t epoch, int64_t n) const;

 private:
  uint64_t seed_;
  Purpose purpose_;
};

}  // namespace luce
