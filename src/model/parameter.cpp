#include "luce/model/parameter.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace luce {

void Parameter::publish() {
  const at::NoGradGuard no_grad;
  if (!work.is_same(master)) work.copy_(master);
}

double gradient_norm(const std::vector<Parameter>& parameters) {
  const at::NoGradGuard no_grad;
  double squares = 0;
  for (const auto& p : parameters) squares += p.grad.square().sum(at::kDouble).item<double>();
  return std::sqrt(squares);
}

}  // namespace luce
