#include "luce/ops/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>

#include "support/support.h"

namespace luce {
namespace {

using test::close;

AdamWUpdate update_at(int64_t t) {
  const auto steps = static_cast<double>(t);
  return {.lr = 1e-2,
          .beta1 = 0.9,
          .beta2 = 0.99,
          .epsilon = 1e-8,
          .gradient_scale = 0.5,
          .correction1 = 1 - std::pow(0.9, steps),
          .correction2 = 1 - std::pow(0.99, steps)};
}

/// Three updates of weights from f64 arithmetic written out element by element.
std::vector<double> by_hand(std::vector<double> w, const std::vector<double>& g, double decay) {
  std::vector<double> m(w.size()), v(w.size());
  for (int64_t t = 1; t <= 3; ++t) {
    const auto u = update_at(t);
    for (size_t i = 0; i < w.size(); ++i) {
      const double gi = 0.5 * g[i] * static_cast<double>(t);
      m[i] = 0.9 * m[i] + 0.1 * gi;
      v[i] = 0.99 * v[i] + 0.01 * gi * gi;
      w[i] -= u.lr * decay * w[i];
      w[i] -= u.lr * (m[i] / u.correction1) / (std::sqrt(v[i] / u.correction2) + u.epsilon);
    }
  }
  return w;
}

TEST(AdamW, EqualsTheFormulasForEveryDtypeAndSize) {
  for (const int64_t n : {0, 1, 15, 31, 229, 40000})
    for (const double decay : {0.0, 0.1}) {
      at::manual_seed(static_cast<uint64_t>(n));
      const Tensor w0 = at::randn({n}, at::kDouble).to(at::kFloat).to(at::kDouble),
                   g = at::randn({n}, at::kDouble).to(at::kFloat).to(at::kDouble);
      const auto values = [](const Tensor& t) {
        return std::vector<double>(t.const_data_ptr<double>(),
                                   t.const_data_ptr<double>() + t.numel());
      };
      const auto expected = by_hand(values(w0), values(g), decay);
      const Tensor want = at::tensor(expected, at::kDouble);
      const auto run = [&](at::ScalarType type, const Tensor& work) {
        AdamWTensor t{
            {}, w0.to(type, false, true), at::zeros({n}, type), at::zeros({n}, type), work, decay};
        for (int64_t step = 1; step <= 3; ++step) {
          t.grad = (g * step).to(type);
          std::vector<AdamWTensor> all{t};
          adamw(all, update_at(step));
        }
        return t.weight;
      };
      EXPECT_TRUE(close(run(at::kDouble, {}), want, 1e-12));
      EXPECT_TRUE(close(run(at::kFloat, {}), want, 1e-6));
      const Tensor work = at::zeros({n}, at::kBFloat16);
      const Tensor master = run(at::kFloat, work);
      EXPECT_TRUE(at::equal(work, master.to(at::kBFloat16)));
    }
}

TEST(AdamW, TellsThoseWhoWatchTheWeightThatItHasChanged) {
  const Tensor w = at::ones({4});
  const auto before = w._version();
  std::vector<AdamWTensor> all{{at::ones({4}), w, at::zeros({4}), at::zeros({4})}};
  adamw(all, update_at(1));
  EXPECT_GT(w._version(), before);
}

TEST(SumOfSquares, IsTheSameOnAnyNumberOfThreads) {
  at::manual_seed(3);
  const std::vector<Tensor> tensors{at::randn({300, 257}), at::randn({0}), at::randn({7})};
  double want = 0;
  for (const Tensor& t : tensors) want += t.to(at::kDouble).square().sum().item<double>();
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const double one = sum_of_squares(tensors);
  at::set_num_threads(2);
  const double two = sum_of_squares(tensors);
  at::set_num_threads(before);
  EXPECT_NEAR(one, want, 1e-9 * want);
  EXPECT_EQ(one, two);
}

}  // namespace
}  // namespace luce
