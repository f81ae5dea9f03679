#include "luce/model/parameter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/ops/adamw.h"

namespace luce {

double gradient_norm(const std::vector<Parameter>& parameters) {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  for (const auto& p : parameters) gradients.push_back(p.grad);
  return std::sqrt(sum_of_squares(gradients));
}

}  // namespace luce
