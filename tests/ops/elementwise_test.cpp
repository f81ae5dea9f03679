#include "luce/ops/elementwise.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "support/support.h"

namespace luce {
namespace {

using test::close;

TEST(RmsNorm, EqualsItsDefinitionInValueAndGradient) {
  at::manual_seed(1);
  const auto f64 = at::TensorOptions().dtype(at::kDouble);
  Tensor x = at::randn({5, 7}, f64).requires_grad_(true),
         w = at::randn({7}, f64).requires_grad_(true);
  const Tensor seed = at::randn({5, 7}, f64);
  const Tensor got = rms_norm(x, w, 1e-3);
  const Tensor want = x / (x.square().mean(-1, true) + 1e-3).sqrt() * w;
  EXPECT_TRUE(close(got, want, 1e-14));
  const auto a = torch::autograd::grad({got}, {x, w}, {seed});
  const auto b = torch::autograd::grad({want}, {x, w}, {seed});
  EXPECT_TRUE(close(a[0], b[0], 1e-13));
  EXPECT_TRUE(close(a[1], b[1], 1e-13));
}

TEST(Rotate, TurnsEachPairOfDimensionsByPositionTimesFrequency) {
  const Tensor x = at::tensor({1.0, 0.0, 0.0, 2.0}, at::kDouble).view({1, 1, 4});
  const auto table = rotary_table(at::tensor({3}, at::kLong), {1.0, 0.5}, at::kDouble);
  const Tensor y = rotate(x, table).view({4});
  // Pairs are (0, 2) and (1, 3).
  const Tensor want = at::tensor(
      {std::cos(3.0), -2 * std::sin(1.5), std::sin(3.0), 2 * std::cos(1.5)}, at::kDouble);
  EXPECT_TRUE(close(y, want, 1e-15));
}

TEST(Rotate, HasTheInverseRotationAsItsGradient) {
  at::manual_seed(2);
  const auto f64 = at::TensorOptions().dtype(at::kDouble);
  Tensor x = at::randn({4, 2, 6}, f64).requires_grad_(true);
  const Tensor seed = at::randn({4, 2, 6}, f64);
  const auto table = rotary_table(at::arange(4), {1.0, 0.3, 0.1}, at::kDouble);
  const auto grad = torch::autograd::grad({rotate(x, table)}, {x}, {seed})[0];
  const auto value = [&](const Tensor& at) {
    return (rotate(at, table) * seed).sum().item<double>();
  };
  EXPECT_LT(test::gradient_error(value, x, grad), 1e-8);
}

TEST(Swiglu, IsTheSigmoidWeightedProduct) {
  const Tensor g = at::tensor({0.5, -2.0}, at::kDouble), u = at::tensor({3.0, 4.0}, at::kDouble);
  EXPECT_TRUE(close(swiglu(g, u), g / (1 + (-g).exp()) * u, 1e-15));
}

}  // namespace
}  // namespace luce
