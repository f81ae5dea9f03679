// The small ops and the optimizer on a GPU against the definitions on the CPU in f64.
#include "luce/ops/elementwise.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "gpu/gpu.h"
#include "luce/ops/adamw.h"

namespace luce {
namespace {

using test::close;
using test::distance;
using test::to_cpu;
using test::to_gpu;

class GpuElementwise : public test::Gpu {};
class GpuAdamW : public test::Gpu {};

using Op = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;

/// Results and gradients of `op` on the CPU in f64 where `type` is that, else on the GPU.
std::vector<Tensor> run(const Op& op, const std::vector<Tensor>& inputs, at::ScalarType type) {
  const auto move = [&](const Tensor& t) {
    return type == at::kDouble ? t.clone() : to_gpu(t.to(type));
  };
  std::vector<Tensor> leaves, seeds;
  for (const Tensor& t : inputs) leaves.push_back(move(t).requires_grad_(true));
  std::vector<Tensor> out = op(leaves);
  for (const Tensor& t : out) {
    at::manual_seed(5);
    seeds.push_back(move(at::randn(t.sizes(), at::kDouble).to(at::kBFloat16).to(at::kDouble)));
  }
  const auto gradients = torch::autograd::grad(out, leaves, seeds);
  out.insert(out.end(), gradients.begin(), gradients.end());
  return out;
}

void expect_near(const Op& op, const std::vector<std::vector<int64_t>>& shapes) {
  at::manual_seed(9);
  std::vector<Tensor> inputs;
  for (const auto& shape : shapes)
    inputs.push_back(at::randn(shape, at::kDouble).to(at::kBFloat16).to(at::kDouble));
  const auto want = run(op, inputs, at::kDouble);
  for (const auto& [type, bound] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 2e-2}}) {
    const auto got = run(op, inputs, type);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ(got[i].scalar_type(), type);
      EXPECT_EQ(got[i].sizes(), want[i].sizes());
      EXPECT_LE(distance(got[i], want[i].detach()), bound) << i << " in " << type;
    }
  }
}

constexpr int64_t kRows[] = {0, 1, 31, 229};

TEST_F(GpuElementwise, NormsWithAndWithoutAResidual) {
  for (const int64_t n : kRows)
    for (const int64_t d : {1, 31, 229, 2048}) {
      SCOPED_TRACE(::testing::Message() << n << " x " << d);
      expect_near([](const auto& x) { return std::vector{rms_norm(x[0], x[1], 1e-3)}; },
                  {{n, d}, {d}});
      const Op add = [](const auto& x) {
        const Normed out = add_rms_norm(x[0], x[1], x[2], 1e-3);
        return std::vector{out.sum, out.y};
      };
      expect_near(add, {{n, d}, {n, d}, {d}});
    }
}

TEST_F(GpuElementwise, TurnsAndGates) {
  for (const int64_t n : kRows) {
    SCOPED_TRACE(n);
    const Op turn = [](const auto& x) {
      const auto type = statistics_type(x[0].scalar_type());
      const Tensor positions = at::arange(x[0].size(0), x[0].options().dtype(at::kLong));
      return std::vector{rotate(x[0], rotary_table(positions, {1.0, 0.3, 0.1}, type))};
    };
    expect_near(turn, {{n, 5, 6}});
    expect_near([](const auto& x) { return std::vector{swiglu(x[0], x[1])}; }, {{n, 31}, {n, 31}});
  }
}

TEST_F(GpuAdamW, UpdatesEveryWeightAsTheDefinitionDoes) {
  for (const bool with_work : {false, true}) {
    at::manual_seed(2);
    const std::vector<int64_t> sizes{0, 1, 31, 229, 40000};
    std::vector<AdamWTensor> exact, got;
    for (const int64_t n : sizes) {
      const auto draw = [&] { return at::randn({n}, at::kDouble).to(at::kFloat).to(at::kDouble); };
      const double decay = n % 2 == 0 ? 0.1 : 0;
      exact.push_back({draw(), draw(), at::zeros({n}, at::kDouble), at::zeros({n}, at::kDouble),
                       Tensor(), decay});
      const AdamWTensor& e = exact.back();
      const auto gpu = [](const Tensor& t) { return to_gpu(t.to(at::kFloat)); };
      got.push_back({gpu(e.grad), gpu(e.weight), gpu(e.m), gpu(e.v), Tensor(), decay});
      if (with_work) got.back().work = at::zeros_like(got.back().weight).to(at::kBFloat16);
    }
    std::vector<Tensor> gradients, moved;
    for (size_t i = 0; i < exact.size(); ++i) {
      gradients.push_back(exact[i].grad);
      moved.push_back(got[i].grad);
    }
    EXPECT_NEAR(sum_of_squares(moved) / sum_of_squares(gradients), 1, 1e-6);
    const auto version = got.back().weight._version();
    for (int64_t t = 1; t <= 3; ++t) {
      const auto steps = static_cast<double>(t);
      const AdamWUpdate u{.lr = 1e-2,
                          .beta1 = 0.9,
                          .beta2 = 0.99,
                          .epsilon = 1e-8,
                          .gradient_scale = 0.5,
                          .correction1 = 1 - std::pow(0.9, steps),
                          .correction2 = 1 - std::pow(0.99, steps)};
      // The definition scales the gradients in place.
      for (size_t i = 0; i < exact.size(); ++i) exact[i].grad = gradients[i].clone();
      adamw(exact, u);
      adamw(got, u);
    }
    EXPECT_GT(got.back().weight._version(), version);
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_TRUE(close(to_cpu(got[i].weight), exact[i].weight, 1e-6, 1e-6)) << sizes[i];
      EXPECT_TRUE(close(to_cpu(got[i].m), exact[i].m, 1e-6, 1e-6)) << sizes[i];
      EXPECT_TRUE(close(to_cpu(got[i].v), exact[i].v, 1e-6, 1e-6)) << sizes[i];
      if (with_work) {
        EXPECT_TRUE(at::equal(got[i].work, got[i].weight.to(at::kBFloat16)));
      }
    }
  }
}

TEST_F(GpuAdamW, SumsNoGradientsToZero) { EXPECT_EQ(sum_of_squares({to_gpu(at::zeros({0}))}), 0); }

}  // namespace
}  // namespace luce
