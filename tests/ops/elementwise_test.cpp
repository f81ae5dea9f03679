#include "luce/ops/elementwise.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <functional>
#include <vector>

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

/// Values and gradients of an op of rows, in the dtype of its inputs.
using RowOp = std::function<Tensor(const std::vector<Tensor>&)>;
std::vector<Tensor> with_gradients(const RowOp& op, const std::vector<Tensor>& inputs,
                                   at::ScalarType type) {
  std::vector<Tensor> leaves;
  for (const Tensor& t : inputs) leaves.push_back(t.to(type).detach().requires_grad_(true));
  const Tensor y = op(leaves);
  std::vector<Tensor> out{y.detach()};
  at::manual_seed(9);
  const Tensor seed = at::randn(y.sizes(), at::kDouble).to(at::kBFloat16).to(type);
  for (const Tensor& g : torch::autograd::grad({y}, leaves, {seed})) out.push_back(g);
  return out;
}

/// More rows than are taken at once, and not a multiple of them; bf16 rounds once behind the op.
TEST(Elementwise, RunsPartsOfLongInputsAsTheDefinitionDoes) {
  at::manual_seed(8);
  const int64_t n = 301, d = 72;
  const auto rows = [&] {
    return at::randn({n, d}, at::kDouble).to(at::kBFloat16).to(at::kDouble);
  };
  const Tensor w = at::randn({d}, at::kDouble).to(at::kBFloat16).to(at::kDouble);
  const auto angles = [&](at::ScalarType type) {
    return rotary_table(at::arange(n), {1.0, 0.3, 0.1, 0.05, 0.01, 0.001},
                        type == at::kDouble ? at::kDouble : at::kFloat);
  };
  const std::vector<std::pair<RowOp, std::vector<Tensor>>> ops{
      {[](const auto& in) { return rms_norm(in[0], in[1], 1e-5); }, {rows(), w}},
      {[](const auto& in) {
         const Normed both = add_rms_norm(in[0], in[1], in[2], 1e-5);
         return at::cat({both.sum, both.y});
       },
       {rows(), rows(), w}},
      {[&](const auto& in) {
         return rotate(in[0].view({n, 6, 12}), angles(in[0].scalar_type())).flatten(1);
       },
       {rows()}},
      {[](const auto& in) { return swiglu(in[0], in[1]); }, {rows(), rows()}}};
  for (size_t i = 0; i < ops.size(); ++i) {
    const auto want = with_gradients(ops[i].first, ops[i].second, at::kDouble);
    for (const auto& [type, most] : {std::pair{at::kFloat, 1e-6}, {at::kBFloat16, 4e-3}}) {
      const auto got = with_gradients(ops[i].first, ops[i].second, type);
      for (size_t j = 0; j < want.size(); ++j) {
        EXPECT_EQ(got[j].scalar_type(), type);
        EXPECT_LT(test::relative_distance(got[j].to(at::kDouble), want[j]), most)
            << "op " << i << ", result " << j << ", " << type;
      }
    }
  }
}

}  // namespace
}  // namespace luce
