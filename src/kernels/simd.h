// A vector of floats as wide as the instruction set that a file is compiled for.
//
// Every file of this folder is compiled once per instruction set (LUCE_ISA names it), and the
// widest that the processor has is chosen when the program runs. Nothing inline of the standard
// library may be used here: the linker would keep one copy of it for all.
#pragma once

#include <cstdint>

#include "kernels/formulas.h"

#ifndef LUCE_ISA
#define LUCE_ISA portable
#endif

namespace luce::kernels::LUCE_ISA {

#if defined(__AVX512F__)
inline constexpr int kBytes = 64;
#elif defined(__AVX__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif
inline constexpr int kLanes = kBytes / 4;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
inline constexpr bool kFused = true;
#else
inline constexpr bool kFused = false;
#endif

using Floats [[gnu::vector_size(kBytes)]] = float;
using Ints [[gnu::vector_size(kBytes)]] = int32_t;

struct Vec {
  Floats v;

  Vec() = default;
  LUCE_HD Vec(Floats x) : v(x) {}
  LUCE_HD Vec(float x) : v(x - Floats{}) {}

  LUCE_HD static Vec load(const float* p) {
    Floats x;
    __builtin_memcpy(&x, p, kBytes);
    return x;
  }
  LUCE_HD void store(float* p) const { __builtin_memcpy(p, &v, kBytes); }
};

LUCE_HD Vec operator+(Vec a, Vec b) { return a.v + b.v; }
LUCE_HD Vec operator-(Vec a, Vec b) { return a.v - b.v; }
LUCE_HD Vec operator*(Vec a, Vec b) { return a.v * b.v; }
LUCE_HD Vec operator/(Vec a, Vec b) { return a.v / b.v; }

LUCE_HD Ints bits(Floats x) {
  Ints out;
  __builtin_memcpy(&out, &x, kBytes);
  return out;
}
LUCE_HD Floats floats(Ints x) {
  Floats out;
  __builtin_memcpy(&out, &x, kBytes);
  return out;
}
LUCE_HD Vec select(Ints mask, Vec yes, Vec no) { return mask ? yes.v : no.v; }

LUCE_HD Vec max_of(Vec a, Vec b) { return a.v > b.v ? a.v : b.v; }
LUCE_HD Vec lowest_of(Vec) { return -1e30F; }
LUCE_HD Vec sqrt_of(Vec a) {
  Vec out;
  for (int i = 0; i < kLanes; ++i) out.v[i] = __builtin_sqrtf(a.v[i]);
  return out;
}

/// eˣ within 1 ulp; 0 below −87.3, ∞ above 88.7.
LUCE_HD Vec exp_of(Vec x) {
  const Floats clamped = x.v < -87.3F ? Floats{} - 87.3F : x.v > 88.7F ? Floats{} + 88.7F : x.v;
  // x = n log 2 + r: adding and taking away 1.5 · 2²³ rounds to a whole number.
  const Floats magic = Floats{} + 12582912.0F;
  const Floats shifted = clamped * 1.44269504F + magic;
  const Floats n = shifted - magic;
  const Floats r = (clamped - n * 0.693145752F) - n * 1.42860677e-6F;
  Floats p = r * 0.00138145685F + 0.00836873055F;
  p = p * r + 0.041668389F;
  p = p * r + 0.166665211F;
  p = p * r + 0.49999994F;
  p = p * r * r + r + 1.0F;
  // Two factors, so that n = 128 does not overflow.
  const Ints whole = bits(shifted) - bits(magic), half = whole >> 1;
  const Floats y = p * floats((half + 127) << 23) * floats((whole - half + 127) << 23);
  const Floats infinity = Floats{} + __builtin_inff();
  return x.v < -87.3F ? Floats{} : x.v > 88.7F ? infinity : x.v == x.v ? y : x.v;
}

/// log x of a positive normal x within 2 ulp; −∞ at 0 and below the normal range.
LUCE_HD Vec log_of(Vec x) {
  // x = m 2ⁿ with m in [√½, √2).
  const Ints raw = bits(x.v), n = (raw - 0x3f3504f3) >> 23;
  const Floats t = floats(raw - (n << 23)) - 1.0F;
  Floats p = t * 0.0674660131F - 0.116756409F;
  p = p * t + 0.118881747F;
  p = p * t - 0.124055915F;
  p = p * t + 0.142195508F;
  p = p * t - 0.166679963F;
  p = p * t + 0.200021192F;
  p = p * t - 0.250000089F;
  p = p * t + 0.333333135F;
  const Floats e = __builtin_convertvector(n, Floats);
  const Floats y = ((p * t * t * t + e * 1.42860677e-6F) - t * t * 0.5F) + t + e * 0.693145752F;
  const Floats infinity = Floats{} + __builtin_inff();
  return x.v < 1.17549435e-38F ? Floats{} - infinity : x.v < infinity ? y : x.v;
}

/// tanh x within 3 ulp.
LUCE_HD Vec tanh_of(Vec x) {
  const Floats u = x.v * x.v;
  Floats q = u * -0.00574300252F + 0.0206714775F;
  q = q * u - 0.053749118F;
  q = q * u + 0.133315489F;
  q = q * u - 0.333332866F;
  const Floats small = x.v + x.v * u * q;
  const Vec e = exp_of(x * 2.0F);
  const Floats large = 1.0F - 2.0F / (e.v + 1.0F);
  return u < 0.38F ? small : large;
}

}  // namespace luce::kernels::LUCE_ISA
