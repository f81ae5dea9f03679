#include "experiment/online_runs.h"

#include "luce/loss/registry.h"
#include "luce/rl/algorithms.h"
#include "luce/train/online_rows.h"
#include "luce/train/rl_task.h"
#include "luce/train/trainer.h"

namespace luce {
namespace {

class RewardOfIds : public RewardFunction {
 public:
  explicit RewardOfIds(IdReward reward) : reward_(std::move(reward)) {}
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override {
    std::vector<RewardValue> out;
    for (const auto& input : inputs)
      out.push_back({.value = reward_(input.prompt_ids, input.completion_ids)});
    return out;
  }

 private:
  IdReward reward_;
};

/// The first step of an experiment's many runs is a step like any other: the log says nothing of
/// it.
class QuietPairsTask : public OnlinePairsTask {
 public:
  using OnlinePairsTask::OnlinePairsTask;
  Step next(int64_t step) override {
    Step out = OnlinePairsTask::next(step);
    out.is_first = false;
    return out;
  }
};

std::unique_ptr<RolloutStream> stream(const std::shared_ptr<CausalLM>& model,
                                      const std::vector<Prompt>& prompts, const IdReward& reward,
                                      const OnlineRun& run, int64_t minibatches) {
  const auto sampler = std::make_shared<EngineSampler>(
      model, SampleOptions{.max_new_tokens = run.new_tokens, .seed = run.seed});
  const auto rewards = std::make_shared<Rewards>(std::vector<NamedReward>{
      {.name = "reward", .function = std::make_shared<RewardOfIds>(reward)}});
  return std::make_unique<RolloutStream>(
      RolloutSource(
          prompts, sampler, nullptr, rewards, nullptr,
          {.prompts = run.prompts * minibatches, .generations = run.generations, .seed = run.seed}),
      nullptr);
}

std::unique_ptr<Task> task_of(const std::shared_ptr<CausalLM>& model,
                              const std::vector<Prompt>& prompts, const IdReward& reward,
                              const OnlineRun& run) {
  const Registry registry = Registry::with_builtins();
  const Document config = Document::of({{"algorithm", run.algorithm}}, "experiment");
  if (run.algorithm.at("type") == kOnlineDpo) {
    const auto options = parse_row_algorithm<OnlinePairsOptions>(config).options;
    auto loss = registry.make_loss(config, "/algorithm/loss");
    Frozen frozen;
    if (loss->needs().reference) frozen.model.emplace(model->clone());
    return std::make_unique<QuietPairsTask>(
        Policy(model), std::move(frozen), std::move(loss), OfflineOptions{.seed = run.seed},
        OnlineRowSource{
            .rollouts = stream(model, prompts, reward, run, options.minibatches),
            .eval = nullptr,
            .make =
                [options](const CollectedRollout& rollout, const std::vector<Prompt>& from) {
                  return pairs_of(rollout, from, options);
                },
            .passes = options.num_iterations,
            .minibatches = options.minibatches});
  }
  auto algorithm = registry.part<Algorithms>().make(config, "/algorithm");
  const AlgorithmNeeds needs = algorithm->needs();
  const int64_t minibatches = algorithm->minibatches();
  std::optional<Reference> reference;
  if (needs.reference) reference.emplace(model->clone());
  std::optional<Critic> critic;
  if (needs.values) critic.emplace(*model, run.seed);
  auto task = std::make_unique<RlTask>(
      Policy(model), std::move(reference), std::move(critic), std::move(algorithm),
      stream(model, prompts, reward, run, minibatches), nullptr,
      RlOptions{.seed = run.seed, .max_completion_length = run.new_tokens});
  task->set_value_learning_rate(run.value_learning_rate);
  return task;
}

}  // namespace

std::shared_ptr<CausalLM> small_llama(int64_t vocabulary, int64_t context, int64_t eos,
                                      uint64_t seed) {
  ModelConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_hidden_layers = 2;
  config.num_attention_heads = config.num_key_value_heads = 4;
  config.head_dim = 16;
  config.max_position_embeddings = context;
  config.initializer_range = 0.08;
  config.tie_word_embeddings = true;
  config.bos_token_id = {};
  config.eos_token_ids = {eos};
  return CausalLM::init(config, seed, {.dtype = at::kFloat});
}

void train_online(const std::shared_ptr<CausalLM>& model, const std::vector<Prompt>& prompts,
                  const IdReward& reward, const OnlineRun& run) {
  const auto task = task_of(model, prompts, reward, run);
  TrainerOptions options;
  options.steps = run.steps;
  options.schedule = {.type = "constant", .learning_rate = run.learning_rate};
  options.logging_steps = run.steps;
  Trainer trainer(*task, options);
  if (run.after_step)
    trainer.on_step = [&](const StepReport& report) { run.after_step(report.step); };
  trainer.run();
}

std::vector<Prompt> prompts_of(const std::vector<std::vector<int64_t>>& ids) {
  std::vector<Prompt> out;
  for (const auto& prompt : ids) {
    out.push_back({.row = static_cast<int64_t>(out.size()) + 1, .ids = prompt});
    out.back().columns = Json::object();
  }
  return out;
}

}  // namespace luce
