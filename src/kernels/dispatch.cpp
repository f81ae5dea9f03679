#include <cstdlib>
#include <string>

#include "kernels/kernels.h"
#include "luce/base/error.h"

namespace luce::kernels {
namespace {

enum class Isa { portable, avx2, avx512 };

Isa widest() {
#if defined(LUCE_X86_KERNELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c"))
    return Isa::avx2;
#endif
  return Isa::portable;
}

Isa chosen() {
  const Isa best = widest();
  const char* asked = std::getenv("LUCE_ISA");
  if (asked == nullptr || *asked == 0) return best;
  const std::string name = asked;
  for (const auto& [isa, known] : {std::pair{Isa::portable, "portable"},
                                   std::pair{Isa::avx2, "avx2"}, std::pair{Isa::avx512, "avx512"}})
    if (name == known) {
      if (isa <= best) return isa;
      throw ResourceError(cat("LUCE_ISA is ", name, ", which this processor or this build lacks"));
    }
  throw UsageError(cat("LUCE_ISA must be portable, avx2 or avx512; got \"", name, "\""));
}

Isa isa() {
  static const Isa it = chosen();
  return it;
}

}  // namespace

const Table& table() {
#if defined(LUCE_X86_KERNELS)
  if (isa() == Isa::avx512) return avx512::table();
  if (isa() == Isa::avx2) return avx2::table();
#endif
  return portable::table();
}

const AttentionRows& attention_rows() {
#if defined(LUCE_X86_KERNELS)
  if (isa() == Isa::avx512) return avx512::attention_rows();
  if (isa() == Isa::avx2) return avx2::attention_rows();
#endif
  return portable::attention_rows();
}

bool has_bf16_dot() {
#if defined(LUCE_X86_KERNELS)
  if (isa() == Isa::avx512) return __builtin_cpu_supports("avx512bf16");
#endif
  return false;
}

}  // namespace luce::kernels
