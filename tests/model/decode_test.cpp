// The sampler's log-probs are the trainer's, and in the batch-invariant mode to the last bit.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "luce/base/error.h"
#include "luce/model/roles.h"
#include "luce/model/sampler.h"
#include "support/support.h"

namespace luce {
namespace {

/// The trainer's log-probs of samples, all of them in one batch with their prompts shared.
std::vector<double> trained(const std::shared_ptr<CausalLM>& model,
                            const std::vector<std::vector<int64_t>>& prompts,
                            const std::vector<Sample>& samples) {
  const size_t each = samples.size() / prompts.size();
  std::vector<Example> rows(prompts.size());
  std::vector<const Example*> pointers;
  for (size_t i = 0; i < prompts.size(); ++i) {
    rows[i].prompt = prompts[i];
    for (size_t j = 0; j < each; ++j) rows[i].completions.push_back(samples[i * each + j].ids);
    pointers.push_back(&rows[i]);
  }
  const Batch batch = make_batch(pointers);
  const Reference reference(model);
  const Tensor logps = head(reference.hidden(batch), reference.head_weight(), batch.targets, {})
                           .logps.to(at::kDouble);
  return {logps.const_data_ptr<double>(), logps.const_data_ptr<double>() + logps.numel()};
}

std::vector<double> sampled(const std::vector<Sample>& samples) {
  std::vector<double> out;
  for (const auto& s : samples) out.insert(out.end(), s.logps.begin(), s.logps.end());
  return out;
}

std::vector<std::vector<int64_t>> some_prompts(int64_t vocabulary) {
  std::vector<std::vector<int64_t>> out;
  for (const int64_t n : {1, 5, 17, 70, 64}) {
    const Tensor ids = at::randint(3, std::min<int64_t>(vocabulary, 500), {n}, at::kLong);
    out.emplace_back(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + n);
  }
  return out;
}

ModelConfig llama15m() {
  return parse_model_config(parse_json(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000,
    "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6,
    "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 2048,
    "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "initializer_range": 0.05, "bos_token_id": 1, "eos_token_id": 2})",
                                       "config.json"),
                            "config.json");
}

std::shared_ptr<CausalLM> named(const std::string& name, const ModelOptions& options) {
  if (name == "15M") return CausalLM::init(llama15m(), 3, options);
  if (name == "tiny") return CausalLM::load(test::golden("tiny"), options);
  return test::test_data() ? CausalLM::load(*test::test_data() / name, options) : nullptr;
}

class Decode : public ::testing::TestWithParam<std::string> {};

TEST_P(Decode, GivesTheTrainersLogProbs) {
  at::manual_seed(4);
  const auto model = named(GetParam(), {});
  if (!model) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  const auto prompts = some_prompts(model->config().vocab_size);
  const auto samples = sample(*model, prompts, {.max_new_tokens = 40, .num_samples = 3});
  const auto got = sampled(samples), want = trained(model, prompts, samples);
  ASSERT_EQ(got.size(), want.size());
  std::vector<double> gaps;
  for (size_t i = 0; i < got.size(); ++i) gaps.push_back(std::abs(got[i] - want[i]));
  std::sort(gaps.begin(), gaps.end());
  EXPECT_LE(gaps.back(), 1e-4);
  EXPECT_LE(gaps[gaps.size() / 2], 2e-6);
  RecordProperty("largest", cat(gaps.back()));
  RecordProperty("median", cat(gaps[gaps.size() / 2]));
}

TEST_P(Decode, GivesTheTrainersBitsInTheBatchInvariantMode) {
  at::manual_seed(4);
  const auto model = named(GetParam(), {.batch_invariant = true});
  if (!model) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  const auto prompts = some_prompts(model->config().vocab_size);
  const SampleOptions options{.max_new_tokens = 40, .num_samples = 3};
  const auto samples = sample(*model, prompts, options);
  EXPECT_EQ(sampled(samples), trained(model, prompts, samples));
  // One prompt at a time, and on one thread: the same tokens and bits.
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  for (size_t i = 0; i < prompts.size(); i += 3) {
    SampleOptions alone = options;
    alone.first_sample = static_cast<uint64_t>(i) * 3;
    const auto again = sample(*model, {prompts[i]}, alone);
    for (size_t j = 0; j < 3; ++j) {
      EXPECT_EQ(again[j].ids, samples[i * 3 + j].ids);
      EXPECT_EQ(again[j].logps, samples[i * 3 + j].logps);
    }
  }
  at::set_num_threads(before);
}

INSTANTIATE_TEST_SUITE_P(Models, Decode, ::testing::Values("tiny", "15M", "models/stories260k"),
                         [](const auto& param) {
                           return param.param == "models/stories260k" ? "stories260k" : param.param;
                         });

TEST(BatchInvariant, IsRefusedWhereItCannotBeHad) {
  EXPECT_EQ(test::message_of<UsageError>([] {
              CausalLM::load(test::golden("tiny"),
                             {.dtype = at::kBFloat16, .batch_invariant = true});
            }),
            "model.batch_invariant needs float32 on the CPU; this model is bfloat16 on cpu");
}

TEST(Device, IsNamedInTheErrorWhereItCannotBeHad) {
  EXPECT_EQ(test::message_of<UsageError>([] { device_of("gpu", "here"); }),
            "here: device must be auto, cpu or cuda; got \"gpu\"");
  EXPECT_TRUE(device_of("cpu", "here").is_cpu());
#if !defined(LUCE_CUDA)
  EXPECT_TRUE(device_of("auto", "here").is_cpu());
  EXPECT_EQ(test::message_of<ResourceError>([] { device_of("cuda", "here"); }),
            "here: device \"cuda\": this build has no CUDA kernels; configure with -DLUCE_CUDA=ON "
            "(the preset \"cuda\")");
#endif
}

}  // namespace
}  // namespace luce
