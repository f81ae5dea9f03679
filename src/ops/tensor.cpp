#include "luce/ops/tensor.h"

#include "luce/base/error.h"

namespace luce {

std::string shown(const Tensor& tensor) {
  if (!tensor.defined()) return "nothing";
  std::string dtype = c10::toString(tensor.scalar_type());
  if (tensor.scalar_type() == at::kFloat) dtype = "f32";
  if (tensor.scalar_type() == at::kDouble) dtype = "f64";
  if (tensor.scalar_type() == at::kBFloat16) dtype = "bf16";
  if (tensor.scalar_type() == at::kLong) dtype = "i64";
  std::string shape;
  for (const int64_t size : tensor.sizes()) shape += cat(shape.empty() ? "" : ", ", size);
  return cat(dtype, " [", shape, "]");
}

void expect_dim(const Tensor& tensor, int64_t dim, const char* where, const char* name) {
  if (!tensor.defined() || tensor.dim() != dim)
    throw ArgumentError(cat("[", where, "] ", name, " must have ", dim,
                            dim == 1 ? " dimension" : " dimensions", "; got ", shown(tensor)));
}

at::ScalarType statistics_type(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace luce
