#include "train/set_up.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/base/progress.h"
#include "luce/loss/sft.h"
#include "luce/ops/device.h"
#include "luce/train/reference_cache.h"
#include "luce/train/run.h"
#include "train/rows.h"

namespace luce {
namespace fs = std::filesystem;

ChunkBytes chunk_bytes(const Json& chunk_mb, const c10::Device& device) {
  const bool automatic = chunk_mb.is_string(), on_gpu = device.is_cuda();
  const int64_t mib = automatic ? (on_gpu ? 1536 : 64) : chunk_mb.get<int64_t>();
  return {.usual = mib << 20,
          .most = automatic ? (on_gpu ? int64_t{4096} : int64_t{512}) << 20 : mib << 20};
}

std::shared_ptr<CausalLM> load_reference(const RunConfig& config, const CausalLM& policy) {
  const auto& path = config.reference.path;
  const auto reference = path ? CausalLM::load(*path, policy.options()) : policy.clone();
  if (reference->config().vocab_size != policy.config().vocab_size)
    throw DataError(cat(*path, ": the reference's vocabulary has ", reference->config().vocab_size,
                        " entries, the policy's ", policy.config().vocab_size));
  if (config.reference.sync_steps > 0 && reference->num_parameters() != policy.num_parameters())
    throw DataError(cat(*path,
                        ": the reference is a model of another size, so it cannot move towards "
                        "the policy; leave reference.sync_steps out"));
  return reference;
}

int64_t bytes_of(const Decoder& model) {
  return model.num_parameters() * static_cast<int64_t>(c10::elementSize(model.options().dtype));
}

namespace {

/// An id of the vocabulary that no row uses, for transformers to pad with; its tokenizer's own
/// where that is one. Nothing where every id is used.
std::optional<int64_t> unused_token(const RunSetup& run, std::optional<int64_t> wanted) {
  std::vector<bool> used(static_cast<size_t>(run.model->config().vocab_size));
  const auto look = [&](const std::vector<Example>& rows) {
    for (const auto& row : rows) {
      for (const int64_t id : row.prompt) used[static_cast<size_t>(id)] = true;
      for (const auto& answer : row.completions)
        for (const int64_t id : answer) used[static_cast<size_t>(id)] = true;
    }
  };
  look(run.train.examples);
  if (run.eval) look(run.eval->examples);
  if (wanted && !used[static_cast<size_t>(*wanted)]) return wanted;
  const auto free = std::find(used.begin(), used.end(), false);
  if (free == used.end()) return std::nullopt;
  return free - used.begin();
}

void make_reward_task(RunSetup& run, const Document& document, const Registry& registry,
                      const ModelOptions& model_options, RowOptions rows) {
  const RunConfig& config = run.config;
  auto loss = registry.make_reward_loss(document);
  const auto model = ScoreModel::start(
      config.model.path,
      {.kind = loss->kind(), .head = config.head.kind, .count = config.head.count}, rows.seed,
      model_options);
  run.model = model;
  std::tie(run.train, run.eval) = load_rows(config, needs_of(*loss), run.tokenizer.get());
  std::vector<Example> train = run.train.examples;
  std::vector<Example> eval = run.eval ? run.eval->examples : std::vector<Example>();
  ScoreConfig& score = model->score_config();
  if (loss->predicts_scores()) {
    standardise(train, eval, run.config.data);
    score.targets = Moments{*run.config.data.score_mean, *run.config.data.score_std};
  }
  const auto pad = score.pad_token_id;
  RewardTask task(RewardModel(model), std::move(loss), std::move(train), std::move(eval),
                  {.rows = std::move(rows), .subsample = config.head.subsample});
  score.pad_token_id = unused_token(run, pad ? pad : run.tokenizer ? run.tokenizer->unk() : pad);
  if (!score.pad_token_id)
    log::warn(
        "every id of the vocabulary stands in some row, so that none is left for padding: "
        "transformers can score the saved model one row at a time only");
  run.task = std::make_unique<RewardTask>(std::move(task));
}

void make_offline_task(RunSetup& run, const Document& document, const Registry& registry,
                       const ModelOptions& model_options, const RowOptions& rows) {
  const RunConfig& config = run.config;
  const auto model = CausalLM::load(config.model.path, model_options);
  run.model = model;
  auto loss =
      config.loss.is_null() ? std::unique_ptr<SequenceLoss>(new Sft) : registry.make_loss(document);
  std::tie(run.train, run.eval) = load_rows(config, needs_of(*loss), run.tokenizer.get());

  OfflineOptions options{
      .batch_size = rows.batch_size,
      .micro_batch_tokens = rows.micro_batch_tokens,
      .shuffle = rows.shuffle,
      .seed = rows.seed,
      .batch = rows.batch,
      .max_length = std::min(config.data.max_length, model->config().max_position_embeddings),
      .sync_steps = config.reference.sync_steps,
      .mixup_alpha = config.reference.mixup_alpha,
      .probe_rows = config.displacement.probe_rows,
      .top_tokens = config.displacement.top_tokens,
  };
  if (run.tokenizer)
    options.token_text = [tokenizer = run.tokenizer](int64_t id) { return tokenizer->piece(id); };
  const ChunkBytes chunk = chunk_bytes(config.head.chunk_mb, model_options.device);
  options.chunk_bytes = run.chunk_bytes = chunk.usual;
  options.max_chunk_bytes = chunk.most;
  std::vector<Example> train = run.train.examples;
  std::vector<Example> eval = run.eval ? run.eval->examples : std::vector<Example>();
  if (loss->rows() == Rows::scored) standardise(train, eval, run.config.data);
  if (config.displacement.ches || config.displacement.ches_keep < 1)
    use_ches(*model, config, train, rows.micro_batch_tokens);

  Frozen frozen;
  if (loss->needs().reference) {
    frozen.is_start = !config.reference.path;
    const auto reference = load_reference(config, *model);
    if (!frozen.is_start)
      log::info("the reference is ", *config.reference.path, ", so margins need not begin at 0");
    if (config.reference.precompute) {
      frozen.logps = cached_logps(Reference(reference), train, eval, options,
                                  dataset_options(config).cache_dir);
    } else {
      run.roles.push_back({"reference", bytes_of(*reference)});
      frozen.model = Reference(reference);
    }
  }
  if (config.task == "preference")
    run.task = std::make_unique<PreferenceTask>(Policy(model), std::move(frozen), std::move(loss),
                                                std::move(train), std::move(eval), options);
  else
    run.task = std::make_unique<SftTask>(Policy(model), std::move(frozen), std::move(loss),
                                         std::move(train), std::move(eval), options);
}

}  // namespace

OfflineTask& RunSetup::offline() const {
  auto* offline = dynamic_cast<OfflineTask*>(task.get());
  if (offline == nullptr)
    throw ArgumentError(cat("[RunSetup] task \"", config.task, "\" trains no policy"));
  return *offline;
}

RunSetup set_up(const RunConfig& config, const Document& document, const Registry& registry) {
  RunSetup run{.config = config};
  const ModelOptions model_options{
      .dtype = dtype_of(config.model.dtype, document.where("/model/dtype")),
      .device = device_of(config.model.device, document.where("/model/device")),
      .batch_invariant = config.model.batch_invariant};
  if (fs::exists(fs::path(config.model.path) / "tokenizer.model"))
    run.tokenizer = Tokenizer::load(config.model.path);
  const RowOptions rows{.batch_size = config.train.batch_size,
                        .micro_batch_tokens = config.train.micro_batch_tokens,
                        .shuffle = config.data.shuffle,
                        .seed = static_cast<uint64_t>(config.train.seed),
                        .batch = {.prefix_sharing = config.train.prefix_sharing}};
  if (config.task == "reward")
    make_reward_task(run, document, registry, model_options, rows);
  else if (config.task == "rl")
    make_online_task(run, document, registry, model_options, rows);
  else
    make_offline_task(run, document, registry, model_options, rows);
  log::info(config.model.path, ": ", run.model->config().model_type, ", ",
            format_count(static_cast<double>(run.model->num_parameters())), " parameters, ",
            config.model.dtype, ", ", describe_device(model_options.device),
            config.model.batch_invariant ? ", batch-invariant" : "");

  const auto& t = config.train;
  const auto per_epoch = static_cast<double>(run.task->steps_per_epoch());
  auto& o = run.trainer;
  o.steps = t.max_steps >= 0
                ? t.max_steps
                : static_cast<int64_t>(std::ceil(config.num_train_epochs() * per_epoch));
  o.schedule = {.type = t.lr_scheduler_type,
                .learning_rate = config.learning_rate(),
                .min_lr = t.min_lr,
                .warmup = t.warmup_steps,
                .total = o.steps};
  o.adamw = {.beta1 = t.adam_beta1,
             .beta2 = t.adam_beta2,
             .epsilon = t.adam_epsilon,
             .weight_decay = t.weight_decay};
  o.max_grad_norm = t.max_grad_norm;
  o.logging_steps = t.logging_steps;
  o.eval_steps = t.eval_steps;
  o.eval_on_start = t.eval_on_start;
  o.save_steps = t.save_steps;
  o.save_total_limit = t.save_total_limit;
  o.keep_best = t.load_best_model_at_end;
  o.best_metric = t.metric_for_best_model;
  o.greater_is_better = t.greater_is_better.value_or(!t.metric_for_best_model.ends_with("loss"));
  o.output_dir = config.output_dir;
  o.model_source = config.model.path;
  return run;
}

}  // namespace luce
