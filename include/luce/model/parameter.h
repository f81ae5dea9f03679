// A trainable tensor and the buffers that belong to it.
#pragma once

#include <string>
#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

/// Gradients add up in a buffer of f32 (f64 for f64 models), whatever the dtype of the model.
struct Parameter {
  std::string name;
  Tensor work;  // in the model's dtype: what the forward pass reads, a leaf of its graph
  Tensor
      master;   // f32 or f64: what the optimizer updates; the same tensor as `work` where it can be
  Tensor grad;  // like master; undefined until a Policy is made of the model
  bool decay = true;  // weight decay applies: not to norms and biases
};

/// √Σ g² over all gradients, in f64.
double gradient_norm(const std::vector<Parameter>& parameters);

}  // namespace luce
