#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {

#define LUCE_TEXT_(x) #x
#define LUCE_TEXT(x) LUCE_TEXT_(x)

const Table& table() {
  static constexpr Table kTable{
      .name = LUCE_TEXT(LUCE_ISA),
      .fused = kFused,
      .gemm = gemm,
      .row_gemm = row_gemm,
      .row_gemm_bf16 = row_gemm_bf16,
      .head_sums = head_sums,
      .head_log_sums = head_log_sums,
      .head_gradient = head_gradient,
      .divergence_sums = divergence_sums,
      .divergence_gradient = divergence_gradient,
      .row_maxima = row_maxima,
      .row_sums = row_sums,
      .row_above = row_above,
      .rms_norm = rms_norm,
      .rms_norm_backward = rms_norm_backward,
      .rotate = rotate,
      .swiglu = swiglu,
      .swiglu_backward = swiglu_backward,
      .adamw = adamw,
      .sum_of_squares = sum_of_squares,
      .widen = widen,
      .narrow = narrow,
      .narrow_pair = narrow_pair,
      .transpose_words = transpose_words,
  };
  return kTable;
}

}  // namespace luce::kernels::LUCE_ISA
