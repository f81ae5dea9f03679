// A small model on a GPU against the same model on the CPU.
#include "gpu/gpu.h"
#include "luce/loss/registry.h"
#include "luce/model/roles.h"
#include "luce/model/sampler.h"
#include "luce/train/offline_task.h"

namespace luce {
namespace {

using test::close;
using test::distance;
using test::kGpu;
using test::to_cpu;

class GpuModel : public test::Gpu {};

/// The same weights for every dtype and device: bf16 numbers.
std::shared_ptr<CausalLM> model(at::ScalarType dtype, const c10::Device& device, uint64_t seed) {
  const auto drawn = test::small_model(at::kBFloat16, false, seed);
  auto out = CausalLM::init(drawn->config(), seed, {.dtype = dtype, .device = device});
  for (size_t i = 0; i < out->parameters().size(); ++i) {
    auto& p = out->parameters()[i];
    p.work = drawn->parameters()[i].work.to(device, dtype);
    p.master = p.work;
  }
  return out;
}

struct Kind {
  at::ScalarType dtype;
  double logps, gradients;
};
constexpr Kind kKinds[] = {{at::kFloat, 2e-4, 1e-4}, {at::kBFloat16, 0.1, 0.1}};

TEST_F(GpuModel, GivesTheLogProbsOfF64) {
  const auto rows = test::random_pairs(8);
  const Batch batch = make_batch(test::pointers(rows));
  const Tensor want = Policy(model(at::kDouble, at::kCPU, 1)).score(batch, {}).logps;
  for (const Kind& kind : kKinds) {
    const Policy policy(model(kind.dtype, kGpu, 1));
    EXPECT_TRUE(close(to_cpu(policy.score(batch.to(kGpu), {}).logps), want, kind.logps))
        << kind.dtype;
  }
}

/// The gradients of the first step of DPO on eight pairs.
std::vector<Tensor> gradients(at::ScalarType dtype, const c10::Device& device) {
  const Document config(R"({"loss": [{"type": "dpo", "beta": 0.2}]})", "c");
  Frozen frozen;
  frozen.model = Reference(model(dtype, device, 2));
  frozen.is_start = false;
  PreferenceTask task(Policy(model(dtype, device, 1)), std::move(frozen),
                      Registry::with_builtins().make_loss(config), test::random_pairs(8), {},
                      {.batch_size = 8, .shuffle = false});
  const Step step = task.next(0);
  Metrics metrics;
  for (size_t i = 0; i < step.micro_batches.size(); ++i) task.accumulate(step, i, metrics);
  std::vector<Tensor> out;
  for (const auto& p : task.policy().parameters()) out.push_back(p.grad);
  return out;
}

TEST_F(GpuModel, HasTheGradientsOfADpoStepInF64) {
  const auto want = gradients(at::kDouble, at::kCPU);
  for (const Kind& kind : kKinds) {
    const auto got = gradients(kind.dtype, kGpu);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_LE(distance(got[i], want[i]), kind.gradients) << kind.dtype << ", parameter " << i;
  }
}

TEST_F(GpuModel, GeneratesWhatTheCpuGenerates) {
  const std::vector<std::vector<int64_t>> prompts{{3}, {5, 7, 11, 2, 9}, {1, 28, 4}};
  const SampleOptions options{.max_new_tokens = 20, .temperature = 0, .num_samples = 2};
  const auto got = sample(*model(at::kFloat, kGpu, 1), prompts, options),
             want = sample(*model(at::kDouble, at::kCPU, 1), prompts, options);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].ids, want[i].ids) << i;
    for (size_t j = 0; j < want[i].logps.size(); ++j)
      EXPECT_NEAR(got[i].logps[j], want[i].logps[j], 2e-4) << i << ", token " << j;
  }
}

}  // namespace
}  // namespace luce
