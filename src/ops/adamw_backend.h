// The optimizer on a GPU.
#pragma once

#include "luce/ops/adamw.h"

namespace luce {

#if defined(LUCE_CUDA)
void cuda_adamw(std::vector<AdamWTensor>& tensors, const AdamWUpdate& update);
double cuda_sum_of_squares(const std::vector<Tensor>& tensors);
#endif

}  // namespace luce
