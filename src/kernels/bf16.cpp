// Between f32 and bf16.
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

}  // namespace luce::kernels::LUCE_ISA
