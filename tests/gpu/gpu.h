// What the tests of the GPU share.
#pragma once

#include <ATen/ATen.h>

#include "luce/ops/device.h"
#include "support/support.h"

namespace luce::test {

/// Tests of a GPU; where there is none, or no kernels for one, they are skipped with the reason.
class Gpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

inline const c10::Device kGpu(c10::kCUDA, 0);

inline Tensor to_gpu(const Tensor& t) { return t.defined() ? t.to(kGpu) : t; }
inline Tensor to_cpu(const Tensor& t) { return t.defined() ? t.detach().to(at::kCPU) : t; }

/// ‖got − want‖ / ‖want‖ with `got` on the GPU.
inline double distance(const Tensor& got, const Tensor& want) {
  return relative_distance(to_cpu(got), want);
}

}  // namespace luce::test
