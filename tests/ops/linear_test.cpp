#include "luce/ops/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

TEST(OrderedLinear, EqualsLinearInValueAndGradient) {
  at::manual_seed(1);
  for (const auto& [n, in, out] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 5, 3}, {31, 48, 65}, {229, 64, 130}, {0, 4, 4}}) {
    const Tensor x = at::randn({n, in}).requires_grad_(true),
                 w = at::randn({out, in}).requires_grad_(true),
                 b = at::randn({out}).requires_grad_(true), seed = at::randn({n, out});
    PackedWeight packed;
    const Tensor got = ordered_linear(x, w, b, packed);
    const Tensor want = linear(x.to(at::kDouble), w.to(at::kDouble), b.to(at::kDouble));
    EXPECT_TRUE(close(got, want, 2e-5));
    const auto a = torch::autograd::grad({got}, {x, w, b}, {seed});
    const auto e = torch::autograd::grad({want}, {x, w, b}, {seed.to(at::kDouble)});
    for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(close(a[i], e[i], 1e-4)) << i;
  }
}

TEST(OrderedLinear, GivesARowTheSameBitsWhateverStandsBesideIt) {
  at::manual_seed(2);
  const Tensor x = at::randn({200, 96}), w = at::randn({130, 96});
  PackedWeight packed;
  const Tensor all = ordered_linear(x, w, {}, packed);
  for (const auto& [begin, n] : {std::pair<int64_t, int64_t>{0, 1}, {17, 5}, {63, 66}})
    EXPECT_TRUE(
        at::equal(ordered_linear(x.narrow(0, begin, n), w, {}, packed), all.narrow(0, begin, n)));
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(ordered_linear(x, w, {}, packed), all));
  at::set_num_threads(before);
}

TEST(OrderedLinear, SeesThatAWeightHasChanged) {
  const Tensor x = at::ones({1, 2}), w = at::ones({1, 2});
  PackedWeight packed;
  EXPECT_EQ(ordered_linear(x, w, {}, packed).item<float>(), 2);
  w.mul_(3);
  EXPECT_EQ(ordered_linear(x, w, {}, packed).item<float>(), 6);
}

TEST(OrderedLinear, SaysWhatItCannotTake) {
  PackedWeight packed;
  const Tensor x = at::zeros({1, 2}, at::kDouble);
  EXPECT_EQ(test::message_of<ArgumentError>([&] { ordered_linear(x, x, {}, packed); }),
            "[ordered_linear] expected f32 on the CPU; got f64 [1, 2] on cpu and f64 [1, 2]");
}

}  // namespace
}  // namespace luce
