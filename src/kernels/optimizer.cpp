// AdamW with the cast to bf16 in the same pass, and the norm of gradients.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {

void adamw(int64_t n, const AdamWStep<float>& step, const float* g, float* weight, float* m,
           float* v, uint16_t* work_bf16) {
  for_lanes(n, [&](int64_t i, int count) {
    Vec w = load_some(weight + i, count), first = load_some(m + i, count),
        second = load_some(v + i, count);
    kernels::adamw(step, load_some(g + i, count), w, first, second);
    store_some(w, weight + i, count);
    store_some(first, m + i, count);
    store_some(second, v + i, count);
    if (work_bf16 != nullptr) store_bf16(w, work_bf16 + i, count);
  });
}

double sum_of_squares(int64_t n, const float* x) {
  // Eight sums side by side, added up at the end: any n gives the same order on every processor.
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int j = 0; j < 8; ++j) {
      const double value = static_cast<double>(x[i + j]);
      sums[j] += value * value;
    }
  for (; i < n; ++i) sums[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  for (int j = 1; j < 8; ++j) sums[0] += sums[j];
  return sums[0];
}

}  // namespace luce::kernels::LUCE_ISA
