// Between f32 and bf16, and the order of words of either.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {

void widen(int64_t n, const uint16_t* x, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t word = static_cast<uint32_t>(x[i]) << 16;
    __builtin_memcpy(y + i, &word, 4);
  }
}

void narrow(int64_t n, const float* x, uint16_t* y) {
  for_lanes(n, [&](int64_t i, int count) { store_bf16(load_some(x + i, count), y + i, count); });
}

void narrow_pair(int64_t n, const float* first, const float* second, uint16_t* pairs) {
  for_lanes(n, [&](int64_t i, int count) {
    const Words a = rounded_bits(load_some(first + i, count)) >> 16;
    const Words b = rounded_bits(load_some(second + i, count)) & 0xFFFF0000U;
    const Words both = a | b;
    __builtin_memcpy(pairs + 2 * i, &both, static_cast<size_t>(count) * 4);
  });
}

namespace {
using FourWords [[gnu::vector_size(16)]] = uint32_t;
LUCE_HD FourWords low_pairs(FourWords a, FourWords b) { return FourWords{a[0], b[0], a[1], b[1]}; }
LUCE_HD FourWords high_pairs(FourWords a, FourWords b) { return FourWords{a[2], b[2], a[3], b[3]}; }
}  // namespace

void transpose_words(int64_t rows, int64_t columns, const void* from, int64_t from_stride, void* to,
                     int64_t to_stride) {
  const char* in = static_cast<const char*>(from);
  char* out = static_cast<char*>(to);
  for (int64_t i = 0; i < rows; i += 4)
    for (int64_t j = 0; j < columns; j += 4) {
      FourWords x[4];
      for (int s = 0; s < 4; ++s) __builtin_memcpy(&x[s], in + ((i + s) * from_stride + j) * 4, 16);
      const FourWords a = low_pairs(x[0], x[2]), b = low_pairs(x[1], x[3]);
      const FourWords c = high_pairs(x[0], x[2]), d = high_pairs(x[1], x[3]);
      const FourWords y[4] = {low_pairs(a, b), high_pairs(a, b), low_pairs(c, d), high_pairs(c, d)};
      for (int s = 0; s < 4; ++s) __builtin_memcpy(out + ((j + s) * to_stride + i) * 4, &y[s], 16);
    }
}

}  // namespace luce::kernels::LUCE_ISA
