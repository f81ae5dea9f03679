#include "experiment/tiny_llama.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "luce/model/roles.h"
#include "luce/model/sampler.h"
#include "luce/train/offline_task.h"
#include "luce/train/trainer.h"

namespace luce {
namespace {

/// A task for rows of any kind. An experiment trains many models: its first steps are steps like
/// any other, about which the log says nothing.
class PlainTask : public OfflineTask {
 public:
  using OfflineTask::OfflineTask;
  Step next(int64_t step) override {
    Step out = OfflineTask::next(step);
    out.is_first = false;
    return out;
  }

 protected:
  void record(const GroupInputs&, const HeadStats&, Metrics&) const override {}
};

}  // namespace

std::shared_ptr<CausalLM> tiny_llama(int64_t vocabulary, int64_t context, uint64_t seed) {
  ModelConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.max_position_embeddings = context;
  config.initializer_range = 0.1;
  config.bos_token_id = {};
  config.eos_token_ids = {};
  return CausalLM::init(config, seed, {.dtype = at::kDouble});
}

void fit(const std::shared_ptr<CausalLM>& model, std::unique_ptr<SequenceLoss> loss,
         const std::vector<Example>& rows, const Fit& options) {
  Frozen frozen;
  if (loss->needs().reference) frozen.model.emplace(model->clone());
  PlainTask task(Policy(model), std::move(frozen), std::move(loss), rows, {},
                 {.batch_size = options.batch_size, .seed = options.seed});
  TrainerOptions trainer_options;
  trainer_options.steps = options.steps;
  trainer_options.schedule = {.type = "constant", .learning_rate = options.learning_rate};
  trainer_options.logging_steps = options.steps;
  Trainer trainer(task, trainer_options);
  if (options.after_step)
    trainer.on_step = [&](const StepReport& report) { options.after_step(report.step); };
  trainer.run();
}

std::vector<std::vector<int64_t>> continuations(const CausalLM& model,
                                                const std::vector<std::vector<int64_t>>& prompts,
                                                int64_t new_tokens, double temperature,
                                                uint64_t seed) {
  std::vector<std::vector<int64_t>> out;
  for (auto& s : sample(model, prompts,
                        {.max_new_tokens = new_tokens, .temperature = temperature, .seed = seed}))
    out.push_back(std::move(s.ids));
  return out;
}

std::vector<double> answer_logps(const CausalLM& model, const std::vector<Example>& rows) {
  const Reference reference(std::shared_ptr<const CausalLM>(&model, [](const CausalLM*) {}));
  std::vector<double> out;
  for (size_t begin = 0; begin < rows.size(); begin += 64) {
    std::vector<const Example*> part;
    for (size_t i = begin; i < std::min(rows.size(), begin + 64); ++i) part.push_back(&rows[i]);
    const Batch batch = make_batch(part);
    const auto stats = head(reference.hidden(batch), reference.head_weight(), batch.targets, {});
    const Tensor sums = TokenValues{stats.logps, batch.offset}.sum().contiguous();
    const double* at = sums.const_data_ptr<double>();
    out.insert(out.end(), at, at + sums.numel());
  }
  return out;
}

}  // namespace luce
