// One row of logits that a token is drawn from.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {
namespace {

constexpr int64_t kTogether = 16;

/// Whether z is at least `least` in any lane.
LUCE_HD bool reaches(Vec z, Vec least) {
  const Ints mask = z.v >= least.v;
  uint64_t words[kBytes / 8], any = 0;
  __builtin_memcpy(words, &mask, kBytes);
  for (const uint64_t word : words) any |= word;
  return any != 0;
}

}  // namespace

void row_maxima(int64_t n, const float* z, float* maxima) {
  for (int64_t tile = 0; tile < n; tile += kDrawTile, maxima += kDrawTile / kTogether)
    for (int64_t r = 0; r < kTogether; r += kLanes) {
      Vec top = Vec::load(z + tile + r);
      for (int64_t i = kTogether; i < kDrawTile; i += kTogether)
        top = max_of(Vec::load(z + tile + i + r), top);
      top.store(maxima + r);
    }
}

void row_sums(int64_t n, const float* z, float max, float* sums) {
  for (int64_t tile = 0; tile < n; tile += kDrawTile) {
    Vec total(0.0F);
    for (int64_t i = 0; i < kDrawTile; i += kLanes)
      total = total + exp_of(Vec::load(z + tile + i) - max);
    float sum = 0;
    for (int i = 0; i < kLanes; ++i) sum += total.v[i];
    *sums++ = sum;
  }
}

int64_t row_above(int64_t n, const float* z, float least, int32_t* ids) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += kTogether) {
    // Few reach a useful bound: vectors without one are passed over.
    Vec top = Vec::load(z + i);
    for (int64_t r = kLanes; r < kTogether; r += kLanes) top = max_of(Vec::load(z + i + r), top);
    if (!reaches(top, Vec(least))) continue;
    for (int64_t r = 0; r < kTogether; ++r)
      if (z[i + r] >= least) ids[count++] = static_cast<int32_t>(i + r);
  }
  return count;
}

}  // namespace luce::kernels::LUCE_ISA
