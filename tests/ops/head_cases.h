// The shapes and inputs that tests and benchmarks of the head share.
#pragma once

#include <ATen/ATen.h>

#include <limits>

#include "luce/ops/head.h"

namespace luce::test {

struct HeadCase {
  int64_t m, d, v;
};

/// Rows below, at and above a panel of 128; vocabularies below, at and above a tile of 256.
inline const std::vector<HeadCase> kHeadCases{{1, 5, 1},      {1, 6, 2},      {31, 6, 31},
                                              {31, 16, 229},  {128, 48, 256}, {129, 6, 257},
                                              {229, 5, 1031}, {300, 64, 2100}};

struct HeadTensors {
  Tensor hidden, weight, targets;

  HeadTensors(const HeadCase& c, at::ScalarType type, double scale = 1) {
    at::manual_seed(static_cast<uint64_t>(c.m * 1000 + c.v));
    // f64 inputs hold bf16 numbers, so that all dtypes see the same problem.
    const auto draw = [&](int64_t rows) {
      return at::randn({rows, c.d}, at::kDouble).to(at::kBFloat16).to(type);
    };
    hidden = draw(c.m) * scale;
    weight = draw(c.v);
    targets = at::randint(c.v, {c.m}, at::kLong);
  }
};

/// Up to three candidates a row, some rows with none.
inline Candidates some_candidates(const HeadCase& c) {
  Candidates out;
  out.offset.push_back(0);
  for (int64_t m = 0; m < c.m; ++m) out.offset.push_back(out.offset.back() + m % 4);
  out.ids = at::randint(c.v, {out.offset.back()}, at::kLong);
  return out;
}

}  // namespace luce::test
