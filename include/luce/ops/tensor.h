// The tensor type of every public header, and the checks that launchers share.
//
// Letters of the shape comments: N tokens in a batch · P prompts · C completions · M scored tokens
// · D width · V vocabulary · H heads · K key-value heads · d head width.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace luce {

using Tensor = at::Tensor;

/// "f32 [8, 128]": dtype and shape, for error messages.
std::string shown(const Tensor& tensor);

/// Throws ArgumentError "[WHERE] NAME must be … ; got …" unless `tensor` has `dim` dimensions.
void expect_dim(const Tensor& tensor, int64_t dim, const char* where, const char* name);

/// The dtype of statistics computed from activations of `dtype`: f64 for f64, f32 for all others.
at::ScalarType statistics_type(at::ScalarType dtype);

}  // namespace luce
