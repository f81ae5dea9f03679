#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/base/random.h"
#include "luce/data/model_folder.h"
#include "luce/loss/sft.h"
#include "luce/rl/algorithms.h"
#include "luce/rl/http_sampler.h"
#include "luce/rl/reward_registry.h"
#include "luce/train/online_rows.h"
#include "luce/train/rl_task.h"
#include "train/set_up.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

/// The last share of the prompts in a seeded order, taken out of them.
std::vector<Prompt> held_out(std::vector<Prompt>& prompts, double share, uint64_t seed) {
  const auto n = static_cast<int64_t>(prompts.size());
  const auto count =
      std::min(n - 1, static_cast<int64_t>(std::llround(share * static_cast<double>(n))));
  std::vector<bool> picked(prompts.size());
  const auto order = Random(seed, Purpose::shuffle).permutation(UINT64_MAX, n);
  for (int64_t i = 0; i < count; ++i)
    picked[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  std::vector<Prompt> kept, out;
  for (size_t i = 0; i < prompts.size(); ++i)
    (picked[i] ? out : kept).push_back(std::move(prompts[i]));
  prompts = std::move(kept);
  return out;
}

struct Prompts {
  std::vector<Prompt> train, eval;
};

Prompts load(const RunConfig& config, const ModelConfig& model, const Tokenizer* tokenizer) {
  const int64_t room = model.max_position_embeddings - config.rollout.max_completion_length;
  if (room < 1)
    throw UsageError(cat("rollout.max_completion_length is ", config.rollout.max_completion_length,
                         "; the model's context is ", model.max_position_embeddings,
                         ", which leaves no room for a prompt"));
  PromptOptions options{
      .max_length = std::min(room, config.rollout.max_prompt_length.value_or(room)),
      .strict = config.data.strict};
  for (const auto& [key, value] : config.data.column_map.items())
    options.column_map[key] = value.get<std::string>();
  const auto read = [&](const std::string& file) {
    PromptSet set = load_prompts(file, tokenizer, options);
    log::info(describe(set.report));
    for (const auto& reason : set.report.first_reasons) log::warn("dropped ", reason);
    for (const Prompt& prompt : set.prompts)
      for (const int64_t id : prompt.ids)
        if (id >= model.vocab_size)
          throw DataError(cat(file, ": row ", prompt.row, " holds the token id ", id,
                              "; the model's vocabulary has ", model.vocab_size));
    return std::move(set.prompts);
  };
  Prompts out;
  out.train = read(config.data.train);
  if (config.data.eval) {
    out.eval = read(*config.data.eval);
  } else if (config.data.eval_fraction > 0) {
    out.eval =
        held_out(out.train, config.data.eval_fraction, static_cast<uint64_t>(config.train.seed));
    log::info(out.eval.size(), " prompts are held out for evaluation");
  }
  return out;
}

SampleOptions sample_options(const RunConfig& config, const Tokenizer* tokenizer) {
  const RolloutSection& r = config.rollout;
  return {.max_new_tokens = r.max_completion_length,
          .temperature = r.temperature,
          .top_k = r.top_k,
          .top_p = r.top_p,
          .min_p = r.min_p,
          .repetition_penalty = r.repetition_penalty,
          .stop = r.stop,
          .tokenizer = tokenizer,
          .seed = static_cast<uint64_t>(config.train.seed),
          .max_batch = r.max_batch};
}

std::optional<Critic> make_critic(RunSetup& run, const CausalLM& policy, uint64_t seed) {
  const ValueSection& value = run.config.value;
  std::optional<Critic> critic;
  if (value.share_trunk)
    critic.emplace(policy, seed);
  else
    critic.emplace(ScoreModel::start(value.path.value_or(run.config.model.path),
                                     {.kind = ScoreKind::reward}, seed, policy.options()));
  int64_t bytes = 0;
  for (const auto& p : critic->parameters())
    bytes += static_cast<int64_t>(p.work.nbytes()) + 3 * static_cast<int64_t>(p.grad.nbytes()) +
             (p.master.is_same(p.work) ? 0 : static_cast<int64_t>(p.master.nbytes()));
  run.roles.push_back({"value", bytes});
  return critic;
}

/// Everything that online tasks have in common.
struct Online {
  std::shared_ptr<CausalLM> model;
  std::unique_ptr<RolloutStream> rollouts;
  std::unique_ptr<RolloutSource> eval;  // null: no evaluation
  RolloutLog log;
};

/// The server that a config samples from, or null.
std::shared_ptr<HttpSampler> make_server(const RunConfig& config, const Document& document,
                                         const SampleOptions& sampling, const CausalLM& model) {
  if (config.rollout.server.is_null()) return nullptr;
  const auto options =
      parse_options<HttpSamplerOptions>(document, "/rollout/server", "rollout.server");
  return std::make_shared<HttpSampler>(options, sampling, model.config().vocab_size);
}

/// Saves the policy to output_dir/sampler and has the server read it.
RolloutStream::Publish publisher(const RunConfig& config, std::shared_ptr<HttpSampler> server) {
  const fs::path folder = fs::absolute(fs::path(config.output_dir) / "sampler");
  return [folder, server, source = config.model.path](int64_t index, const CausalLM& policy) {
    fs::remove_all(folder);
    write_folder_atomic(folder, [&](const fs::path& temporary) {
      policy.save(temporary);
      copy_tokenizer_files(source, temporary);
    });
    server->update(folder, index);
  };
}

Online make_online(RunSetup& run, const Document& document, const Registry& registry,
                   std::shared_ptr<CausalLM> model, int64_t minibatches, bool with_greedy) {
  const RunConfig& config = run.config;
  const RolloutSection& r = config.rollout;
  const auto seed = static_cast<uint64_t>(config.train.seed);
  Online out{.model = model};
  Prompts prompts = load(config, model->config(), run.tokenizer.get());
  run.prompts = static_cast<int64_t>(prompts.train.size());
  const auto rewards = std::make_shared<Rewards>(registry.part<RewardFunctions>().make_rewards(
      document, "/reward",
      {.tokenizer = run.tokenizer.get(),
       .model = model->options(),
       .micro_batch_tokens = config.train.micro_batch_tokens},
      {.max_failed = r.max_failed_rewards}));

  const SampleOptions sampling = sample_options(config, run.tokenizer.get());
  Mixture mixture;
  if (r.mixture_path) {
    mixture = {CausalLM::load(*r.mixture_path, model->options()), r.mixture_weight};
    run.roles.push_back({"second sampler", bytes_of(*mixture.second)});
  }
  std::shared_ptr<CausalLM> snapshot;
  if (r.one_step_off && r.server.is_null()) {
    snapshot = model->clone();
    run.roles.push_back({"sampler's copy", bytes_of(*snapshot)});
  }
  const std::shared_ptr<const CausalLM> sampled = snapshot ? snapshot : model;
  const auto server = make_server(config, document, sampling, *model);
  const auto engine = [&](std::shared_ptr<const CausalLM> from, double temperature) {
    SampleOptions options = sampling;
    options.temperature = temperature;
    return std::make_shared<EngineSampler>(std::move(from), options, mixture);
  };
  const std::shared_ptr<Sampler> sampler =
      server ? std::shared_ptr<Sampler>(server) : engine(sampled, r.temperature);
  RolloutSource source(std::move(prompts.train), sampler,
                       with_greedy ? engine(sampled, 0) : nullptr, rewards, run.tokenizer,
                       {.prompts = config.train.batch_size * minibatches,
                        .generations = r.num_generations,
                        .shuffle = config.data.shuffle,
                        .seed = seed,
                        .dynamic_sampling = r.dynamic_sampling});
  out.rollouts = std::make_unique<RolloutStream>(
      std::move(source), snapshot, server ? publisher(config, server) : RolloutStream::Publish(),
      r.one_step_off);
  if (!prompts.eval.empty())
    out.eval = std::make_unique<RolloutSource>(
        std::move(prompts.eval), engine(model, r.eval_temperature), nullptr, rewards, run.tokenizer,
        RolloutOptions{.generations = r.eval_generations});
  out.log = {.folder = fs::path(config.output_dir) / "completions", .shown = r.log_completions};
  make_folder(out.log.folder);
  return out;
}

Reference make_reference(RunSetup& run, const CausalLM& policy) {
  const auto frozen = load_reference(run.config, policy);
  run.roles.push_back({"reference", bytes_of(*frozen)});
  return Reference(frozen);
}

OfflineOptions offline_options(RunSetup& run, const RowOptions& rows, const CausalLM& model) {
  const ChunkBytes chunk = chunk_bytes(run.config.head.chunk_mb, model.options().device);
  run.chunk_bytes = chunk.usual;
  return {.batch_size = rows.batch_size,
          .micro_batch_tokens = rows.micro_batch_tokens,
          .seed = rows.seed,
          .batch = rows.batch,
          .chunk_bytes = chunk.usual,
          .max_chunk_bytes = chunk.most,
          .max_length = model.config().max_position_embeddings,
          .sync_steps = run.config.reference.sync_steps,
          .mixup_alpha = run.config.reference.mixup_alpha};
}

void make_pairs_task(RunSetup& run, const Document& document, const Registry& registry,
                     std::shared_ptr<CausalLM> model, const RowOptions& rows) {
  const auto options = parse_row_algorithm<OnlinePairsOptions>(document).options;
  auto loss = registry.make_loss(document, "/algorithm/loss");
  const Needs needs = loss->needs();
  Online online = make_online(run, document, registry, model, options.minibatches, false);
  Frozen frozen;
  if (needs.reference) frozen.model = make_reference(run, *model);
  frozen.is_start = !run.config.reference.path;
  OnlineRowSource source{
      .rollouts = std::move(online.rollouts),
      .eval = std::move(online.eval),
      .make =
          [options](const CollectedRollout& rollout, const std::vector<Prompt>& prompts) {
            return pairs_of(rollout, prompts, options);
          },
      .passes = options.num_iterations,
      .minibatches = options.minibatches,
      .log = online.log};
  run.task =
      std::make_unique<OnlinePairsTask>(Policy(model), std::move(frozen), std::move(loss),
                                        offline_options(run, rows, *model), std::move(source));
}

void make_rejection_task(RunSetup& run, const Document& document, const Registry& registry,
                         std::shared_ptr<CausalLM> model, const RowOptions& rows) {
  const auto options = parse_row_algorithm<RejectionOptions>(document).options;
  Online online = make_online(run, document, registry, model, options.minibatches, false);
  OnlineRowSource source{
      .rollouts = std::move(online.rollouts),
      .eval = std::move(online.eval),
      .make =
          [options](const CollectedRollout& rollout, const std::vector<Prompt>& prompts) {
            return demonstrations_of(rollout, prompts, options);
          },
      .passes = options.num_iterations,
      .minibatches = options.minibatches,
      .log = online.log};
  run.task = std::make_unique<RejectionTask>(Policy(model), Frozen{}, std::make_unique<Sft>(),
                                             offline_options(run, rows, *model), std::move(source));
}

void make_policy_gradient_task(RunSetup& run, const Document& document, const Registry& registry,
                               std::shared_ptr<CausalLM> model, const RowOptions& rows) {
  const RunConfig& config = run.config;
  const RolloutSection& r = config.rollout;
  auto algorithm = registry.part<Algorithms>().make(document, "/algorithm");
  const AlgorithmNeeds needs = algorithm->needs();
  Online online =
      make_online(run, document, registry, model, algorithm->minibatches(), needs.greedy);
  std::optional<Reference> reference;
  if (needs.reference) reference = make_reference(run, *model);
  std::optional<Critic> critic;
  if (needs.values) critic = make_critic(run, *model, rows.seed);
  const ChunkBytes chunk = chunk_bytes(config.head.chunk_mb, model->options().device);
  run.chunk_bytes = chunk.usual;
  auto task = std::make_unique<RlTask>(
      Policy(model), std::move(reference), std::move(critic), std::move(algorithm),
      std::move(online.rollouts), std::move(online.eval),
      RlOptions{.batch_size = rows.batch_size,
                .micro_batch_tokens = rows.micro_batch_tokens,
                .batch = rows.batch,
                .chunk_bytes = chunk.usual,
                .max_chunk_bytes = chunk.most,
                .seed = rows.seed,
                .temperature = r.temperature,
                .max_completion_length = r.max_completion_length,
                .importance = {.mode = r.importance_sampling_correction,
                               .least = r.importance_sampling_min,
                               .most = r.importance_sampling_max},
                .max_staleness = r.max_staleness,
                .sync_steps = config.reference.sync_steps,
                .mixup_alpha = config.reference.mixup_alpha,
                .log = online.log});
  task->set_value_learning_rate(config.value.learning_rate.value_or(0));
  run.task = std::move(task);
}

}  // namespace

void make_online_task(RunSetup& run, const Document& document, const Registry& registry,
                      const ModelOptions& model_options, const RowOptions& rows) {
  const auto model = CausalLM::load(run.config.model.path, model_options);
  run.model = model;
  const Json* type = document.find("/algorithm/type");
  if (type != nullptr && *type == kOnlineDpo)
    make_pairs_task(run, document, registry, model, rows);
  else if (type != nullptr && *type == kRejectionSampling)
    make_rejection_task(run, document, registry, model, rows);
  else
    make_policy_gradient_task(run, document, registry, model, rows);
}

}  // namespace luce
