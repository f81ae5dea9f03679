// Drawing on a GPU against the definition in tensor operations there.
#include "luce/ops/draw.h"

#include <cmath>

#include "gpu/gpu.h"
#include "luce/base/random.h"

namespace luce {
namespace {

using test::to_cpu;
using test::to_gpu;

class GpuDraw : public test::Gpu {};

const std::vector<DrawOptions> kOptions{
    {},
    {.temperature = 0.7},
    {.temperature = 1.9},
    {.temperature = 0},
    {.top_k = 1},
    {.top_k = 40},
    {.top_k = 100000},
    {.top_p = 0.6},
    {.top_p = 1e-4},
    {.top_p = 0.99},
    {.min_p = 0.2},
    {.repetition_penalty = 1.8},
    {.temperature = 0, .repetition_penalty = 0.5},
    {.temperature = 1.3, .top_k = 700, .top_p = 0.8, .min_p = 0.01, .repetition_penalty = 1.2},
    {.second_weight = 0.3},
    {.temperature = 0.6, .top_k = 50, .repetition_penalty = 1.1, .second_weight = 1}};

HeadSide side(int64_t m, int64_t d, int64_t v, at::ScalarType type) {
  return {to_gpu(at::randn({m, d}).to(type)), to_gpu(at::randn({v, d}).mul(0.5).to(type)), {}};
}

DrawRows numbers(int64_t m, const std::vector<int64_t>& seen) {
  const Random random(5, Purpose::test);
  DrawRows rows;
  for (int64_t i = 0; i < m; ++i)
    rows.uniform.push_back(random.uniform(0, static_cast<uint64_t>(i), 0));
  rows.seen.assign(static_cast<size_t>(m), &seen);
  return rows;
}

Drawn drawn(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
            const DrawOptions& o) {
  DrawWorkspace workspace;
  return draw(first, second, rows, o, workspace);
}

TEST_F(GpuDraw, DrawsWhatTheDefinitionDraws) {
  at::manual_seed(1);
  constexpr int64_t kRows = 100;
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t v : {1, 29, 3000, 50257})
      for (const LogitOptions& map : {LogitOptions{}, {.logit_scale = 0.5, .softcap = 5}}) {
        HeadSide first = side(kRows, 16, v, type);
        const HeadSide second = side(kRows, 24, v, type);
        first.logits = map;
        const std::vector<int64_t> seen{v / 2, 0, v / 2, v - 1};
        const DrawRows rows = numbers(kRows, seen);
        for (size_t i = 0; i < kOptions.size(); ++i) {
          SCOPED_TRACE(::testing::Message() << type << ", vocabulary " << v << ", options " << i);
          const HeadSide* other = kOptions[i].second_weight > 0 ? &second : nullptr;
          const Drawn got = drawn(first, other, rows, kOptions[i]),
                      want = composed::draw(first, other, rows, kOptions[i]);
          ASSERT_EQ(got.ids.size(), want.ids.size());
          // Where two tokens meet, rounding decides.
          int64_t apart = 0;
          for (size_t r = 0; r < want.ids.size(); ++r) {
            if (got.ids[r] != want.ids[r]) {
              ++apart;
              continue;
            }
            EXPECT_NEAR(got.logps[r], want.logps[r], 2e-4);
            EXPECT_NEAR(got.tempered[r], want.tempered[r], 2e-4);
            EXPECT_NEAR(got.drawn[r], want.drawn[r], 2e-4);
          }
          EXPECT_LE(apart, 1);
        }
      }
}

TEST_F(GpuDraw, GivesTheBitsOfHead) {
  at::manual_seed(2);
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const double temperature : {1.0, 0.7}) {
      const HeadSide one = side(33, 16, 5000, type);
      const std::vector<int64_t> none;
      const Drawn got = drawn(one, nullptr, numbers(33, none), {.temperature = temperature});
      const Tensor ids = to_gpu(at::tensor(got.ids, at::kLong));
      const auto want = [&](double t) {
        const Tensor logps =
            to_cpu(head(one.hidden, one.weight, ids, {.logits = {.temperature = t}}).logps)
                .to(at::kDouble);
        return std::vector<double>(logps.const_data_ptr<double>(),
                                   logps.const_data_ptr<double>() + logps.numel());
      };
      EXPECT_EQ(got.logps, want(1));
      EXPECT_EQ(got.tempered, want(temperature));
      EXPECT_EQ(got.drawn, got.tempered);
    }
}

TEST_F(GpuDraw, KeepsTheFirstOfEquals) {
  const std::vector<int64_t> none;
  for (const int64_t v : {64, 1000, 5000, 50257}) {
    const HeadSide equal{to_gpu(at::zeros({4, 8})), to_gpu(at::zeros({v, 8})), {}};
    DrawRows rows = numbers(4, none);
    rows.uniform = {0, 0.5, 0.75, 1 - 0x1p-53};
    const Drawn got = drawn(equal, nullptr, rows, {.top_k = 32});
    EXPECT_EQ(got.ids, (std::vector<int64_t>{0, 16, 24, 31})) << v;
    for (const double logp : got.drawn) EXPECT_NEAR(logp, -std::log(32), 1e-6) << v;
    EXPECT_EQ(drawn(equal, nullptr, rows, {.temperature = 0}).ids, std::vector<int64_t>(4, 0)) << v;
  }
}

TEST_F(GpuDraw, KeepsWhatIsNotANumberInItsRow) {
  at::manual_seed(3);
  const HeadSide one = side(3, 8, 300, at::kFloat);
  const std::vector<int64_t> seen{4};
  for (const DrawOptions& o : kOptions) {
    if (o.second_weight > 0) continue;
    const Drawn want = drawn(one, nullptr, numbers(3, seen), o);
    HeadSide broken{one.hidden.clone(), one.weight, {}};
    broken.hidden[1].fill_(std::numeric_limits<double>::quiet_NaN());
    const Drawn got = drawn(broken, nullptr, numbers(3, seen), o);
    EXPECT_TRUE(std::isnan(got.logps[1]));
    EXPECT_GE(got.ids[1], 0);
    EXPECT_LT(got.ids[1], 300);
    EXPECT_EQ(got.ids[0], want.ids[0]);
    EXPECT_EQ(got.ids[2], want.ids[2]);
  }
}

TEST_F(GpuDraw, TakesNoRowsAtAll) {
  const HeadSide none{to_gpu(at::zeros({0, 8})), to_gpu(at::zeros({30, 8})), {}};
  EXPECT_TRUE(drawn(none, nullptr, {}, {}).ids.empty());
}

}  // namespace
}  // namespace luce
