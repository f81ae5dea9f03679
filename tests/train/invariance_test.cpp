// The gradient of a step does not depend on how the step is split, ordered or laid out.
#include <ATen/ATen.h>

#include <algorithm>

#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/registry.h"
#include "luce/train/offline_task.h"
#include "support/support.h"

namespace luce {
namespace {

/// The gradients of the first step of DPO + 0.3 · sft on eight pairs.
std::vector<Tensor> gradients(at::ScalarType dtype, bool tied, std::vector<Example> rows,
                              OfflineOptions options) {
  const auto model = test::small_model(dtype, tied);
  const Document config(
      R"({"loss": [{"type": "dpo", "beta": 0.2}, {"type": "sft", "weight": 0.3}]})", "c");
  Frozen frozen;
  frozen.model = Reference(test::small_model(dtype, tied, 2));
  frozen.is_start = false;
  options.batch_size = 8;
  options.shuffle = false;
  PreferenceTask task(Policy(model), std::move(frozen), Registry::with_builtins().make_loss(config),
                      std::move(rows), {}, options);
  const Step step = task.next(0);
  Metrics metrics;
  for (size_t i = 0; i < step.micro_batches.size(); ++i) task.accumulate(step, i, metrics);
  std::vector<Tensor> out;
  for (const auto& p : task.policy().parameters()) out.push_back(p.grad);
  return out;
}

struct Bounds {
  at::ScalarType dtype;
  double split, sharing;
};

std::ostream& operator<<(std::ostream& out, const Bounds& bounds) {
  return out << c10::toString(bounds.dtype);
}

class Invariance : public ::testing::TestWithParam<std::tuple<Bounds, bool>> {
 protected:
  void expect_equal(const std::vector<Example>& rows, const OfflineOptions& options,
                    double bound) const {
    const auto [bounds, tied] = GetParam();
    const auto want = gradients(bounds.dtype, tied, test::random_pairs(8), {});
    const auto got = gradients(bounds.dtype, tied, rows, options);
    double largest = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_GT(want[i].norm().item<double>(), 0) << i;
      const double distance = test::relative_distance(got[i], want[i]);
      EXPECT_LE(distance, bound) << "parameter " << i;
      largest = std::max(largest, distance);
    }
    RecordProperty("largest_distance", cat(largest));  // --gtest_output=json: writes it
  }
};

TEST_P(Invariance, OfEightMicroBatchesOfOneAndOneOfEight) {
  expect_equal(test::random_pairs(8), {.micro_batch_tokens = 1}, std::get<0>(GetParam()).split);
}

TEST_P(Invariance, OfUnevenMicroBatches) {
  expect_equal(test::random_pairs(8), {.micro_batch_tokens = 40}, std::get<0>(GetParam()).split);
}

TEST_P(Invariance, OfTheOrderOfTheRows) {
  auto rows = test::random_pairs(8);
  std::reverse(rows.begin(), rows.end());
  std::swap(rows[1], rows[5]);
  expect_equal(rows, {}, std::get<0>(GetParam()).split);
}

TEST_P(Invariance, OfTheHeadsBudget) {
  expect_equal(test::random_pairs(8), {.chunk_bytes = 1}, std::get<0>(GetParam()).split);
  expect_equal(test::random_pairs(8), {.chunk_bytes = 29 * 8 * 20}, std::get<0>(GetParam()).split);
}

TEST_P(Invariance, OfPrefixSharing) {
  expect_equal(test::random_pairs(8), {.batch = {.prefix_sharing = false}},
               std::get<0>(GetParam()).sharing);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Invariance,
                         ::testing::Combine(::testing::Values(Bounds{at::kDouble, 1e-11, 1e-11},
                                                              Bounds{at::kFloat, 2e-6, 2e-5}),
                                            ::testing::Bool()),
                         [](const auto& test_case) {
                           return std::string(std::get<0>(test_case.param).dtype == at::kDouble
                                                  ? "f64"
                                                  : "f32") +
                                  (std::get<1>(test_case.param) ? "Tied" : "Untied");
                         });

/// The whole path, trunk and head, against central differences of the loss.
TEST(Gradient, OfAStepEqualsFiniteDifferences) {
  const auto rows = test::random_pairs(3);
  for (const bool tied : {true, false}) {
    const auto model = test::small_model(at::kDouble, tied);
    Frozen frozen;
    frozen.model = Reference(test::small_model(at::kDouble, tied, 2));
    frozen.is_start = false;
    PreferenceTask task(Policy(model), std::move(frozen),
                        std::make_unique<Dpo>(DpoOptions{.beta = 0.5}), rows, rows, {});
    Metrics metrics;
    const Step step = task.next(0);
    task.accumulate(step, 0, metrics);
    for (auto& p : task.policy().parameters()) {
      Tensor place = p.work.detach();
      const double keep = place.flatten()[0].item<double>(), h = 1e-5;
      const auto loss_at = [&](double x) {
        place.flatten()[0].fill_(x);
        return task.evaluate().mean("loss");
      };
      const double slope = (loss_at(keep + h) - loss_at(keep - h)) / (2 * h);
      place.flatten()[0].fill_(keep);
      EXPECT_NEAR(p.grad.flatten()[0].item<double>(), slope, 1e-8) << p.name;
    }
  }
}

}  // namespace
}  // namespace luce
