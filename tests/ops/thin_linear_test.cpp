#include "luce/ops/thin_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "luce/base/error.h"
#include "luce/ops/linear.h"
#include "support/support.h"

namespace luce {
namespace {

using Sizes = std::tuple<int64_t, int64_t, int64_t>;

const std::vector<Sizes> kSizes{{1, 5, 3}, {31, 48, 65}, {229, 64, 130}, {0, 4, 4}, {16, 7, 49}};

TEST(ThinLinear, HasTheBitsOfOrderedLinear) {
  at::manual_seed(1);
  for (const auto& [n, in, out] : kSizes) {
    const Tensor x = at::randn({n, in}), w = at::randn({out, in}), b = at::randn({out}),
                 more = at::randn({out + 9, in});
    PackedWeight packed, packed_more;
    const auto got = thin_linear(x, {{w, b}, {more, {}}});
    EXPECT_TRUE(at::equal(got[0], ordered_linear(x, w, b, packed))) << n;
    EXPECT_TRUE(at::equal(got[1], ordered_linear(x, more, {}, packed_more))) << n;
  }
}

TEST(ThinLinear, IsWithinRoundingOfTheProductInBf16) {
  at::manual_seed(2);
  for (const auto& [n, in, out] : kSizes) {
    const Tensor x = at::randn({n, in}).to(at::kBFloat16), w = at::randn({out, in}).to(x.dtype());
    const Tensor got = thin_linear(x, {{w, {}}})[0];
    const Tensor want = at::mm(x.to(at::kDouble), w.to(at::kDouble).t());
    EXPECT_EQ(got.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(test::close(got, want, 1e-3, 0.004)) << n;  // half an ulp is 2⁻⁹
  }
}

TEST(ThinLinear, IsLinearInF64) {
  at::manual_seed(3);
  const Tensor x = at::randn({6, 5}, at::kDouble), w = at::randn({4, 5}, at::kDouble),
               b = at::randn({4}, at::kDouble);
  EXPECT_TRUE(at::equal(thin_linear(x, {{w, b}})[0], linear(x, w, b)));
}

TEST(ThinLinear, GivesARowTheSameBitsWhateverStandsBesideIt) {
  at::manual_seed(4);
  const int before = at::get_num_threads();
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Tensor x = at::randn({200, 96}).to(type), w = at::randn({130, 96}).to(type);
    at::set_num_threads(2);
    const Tensor all = thin_linear(x, {{w, {}}})[0];
    for (const auto& [begin, n] : {std::pair<int64_t, int64_t>{0, 1}, {17, 5}, {63, 66}})
      EXPECT_TRUE(
          at::equal(thin_linear(x.narrow(0, begin, n), {{w, {}}})[0], all.narrow(0, begin, n)));
    at::set_num_threads(1);
    EXPECT_TRUE(at::equal(thin_linear(x, {{w, {}}})[0], all));
  }
  at::set_num_threads(before);
}

TEST(ThinLinear, SaysWhatDoesNotFit) {
  const Tensor x = at::zeros({1, 2}), w = at::zeros({3, 4});
  EXPECT_EQ(test::message_of<ArgumentError>([&] {
              thin_linear(x, {{w, {}}});
            }),
            "[thin_linear] expected x [N, in] and w [out, in] of one dtype; got f32 [1, 2], f32 "
            "[3, 4]");
}

}  // namespace
}  // namespace luce
