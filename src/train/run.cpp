#include "luce/train/run.h"

#include <ATen/Context.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/base/progress.h"
#include "luce/base/random.h"
#include "luce/data/event_file.h"
#include "luce/data/metrics_file.h"
#include "luce/data/model_folder.h"
#include "luce/data/training_report.h"
#include "luce/loss/sft.h"
#include "luce/ops/device.h"
#include "luce/train/model_card.h"
#include "luce/train/reference_cache.h"
#include "train/rows.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The budget of logits, see HeadOptions.
void set_chunk(const Json& chunk_mb, bool on_gpu, OfflineOptions& o) {
  const bool automatic = chunk_mb.is_string();
  const int64_t mib = automatic ? (on_gpu ? 1536 : 64) : chunk_mb.get<int64_t>();
  o.chunk_bytes = mib << 20;
  o.max_chunk_bytes = automatic ? (on_gpu ? int64_t{4096} : int64_t{512}) << 20 : o.chunk_bytes;
}

/// Removes what a run logged after the step that it is now resumed from.
void drop_rows_after(const fs::path& path, int64_t step) {
  if (!fs::exists(path)) return;
  const auto rows = read_metrics(path);
  MetricsFile kept(path, false);
  for (const auto& row : rows)
    if (row.step <= step) kept.write(row.step, row.epoch, row.values);
}

/// Everything that is written while a run goes on: metrics.jsonl, TensorBoard events, the bar.
class RunLog {
 public:
  RunLog(const fs::path& out, const Json& config, const TrainerOptions& options, int64_t first_step,
         bool append, bool progress)
      : metrics_(out / "metrics.jsonl", append),
        events_(run_folder(out)),
        first_step_(first_step),
        logging_steps_(options.logging_steps) {
    events_.text("config", "```json\n" + config.dump(2) + "\n```");
    if (progress) bar_.emplace(config.value("task", ""), options.steps, first_step);
  }

  void step(const StepReport& report) {
    rows_ += report.rows;
    epoch_ = report.epoch;
    window_seconds_ += report.seconds;
    window_tokens_ += report.metrics.sum("num_tokens");
    tokens_ += report.metrics.sum("num_tokens");
    if (!bar_) return;
    ProgressFields fields{{"loss", report.loss}};
    for (const auto& [field, name] :
         {std::pair{"margin", "rewards/margins"}, std::pair{"accuracy", "rewards/accuracies"},
          std::pair{"margin", "margin"}, std::pair{"accuracy", "accuracy"}})
      if (report.metrics.has(name)) fields.emplace_back(field, report.metrics.mean(name));
    fields.emplace_back("lr", report.learning_rate);
    bar_->update(report.step, static_cast<int64_t>(tokens_), fields,
                 report.step % logging_steps_ == 0);
  }

  void means(int64_t step, double epoch, std::map<std::string, double> values) {
    if (values.contains("loss")) {
      values["tokens_per_second"] = window_tokens_ / std::max(window_seconds_, 1e-9);
      values["memory_mib"] = static_cast<double>(peak_resident_bytes()) / (1 << 20);
      window_tokens_ = window_seconds_ = 0;
    }
    write(step, epoch, values);
    std::string line;
    for (const char* name : {"eval_loss", "eval_rewards/accuracies", "eval_rewards/margins",
                             "eval_accuracy", "eval_margin"})
      if (values.contains(name)) line += cat(line.empty() ? "" : ", ", name, " ", values[name]);
    if (!line.empty()) log::info("step ", step, ": ", line);
  }

  void samples(int64_t step, const Metrics& window) {
    for (const auto& [name, values] : window.samples())
      events_.histogram(event_tag(name), values, step);
  }

  void finish(const TrainResult& result) {
    if (bar_) bar_->finish();
    if (result.interrupted) return;
    const double runtime = seconds() - begin_;
    write(result.steps, epoch_,
          {{"train_runtime", runtime},
           {"train_steps_per_second", static_cast<double>(result.steps - first_step_) / runtime},
           {"train_samples_per_second", rows_ / runtime}});
  }

 private:
  void write(int64_t step, double epoch, const std::map<std::string, double>& values) {
    metrics_.write(step, epoch, values);
    events_.scalars(step, values);
  }

  MetricsFile metrics_;
  EventFile events_;
  std::optional<ProgressBar> bar_;
  int64_t first_step_, logging_steps_;
  double begin_ = seconds(), epoch_ = 0, rows_ = 0, tokens_ = 0;
  double window_tokens_ = 0, window_seconds_ = 0;  // since the last line of metrics
};

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

/// Measures CHES of the training pairs, writes it down, and leaves out the pairs of the largest.
void use_ches(const CausalLM& model, const RunConfig& config, std::vector<Example>& train,
              int64_t micro_batch_tokens) {
  const auto scores = ches(model, pointers(train), micro_batch_tokens);
  std::string lines;
  double sum = 0, largest = -INFINITY;
  std::vector<size_t> order(train.size());
  for (size_t i = 0; i < train.size(); ++i) {
    lines +=
        Json{{"row", train[i].row}, {"ches", scores[i].score}, {"normalised", scores[i].normalised}}
            .dump() +
        "\n";
    sum += scores[i].normalised;
    largest = std::max(largest, scores[i].normalised);
    order[i] = i;
  }
  make_folder(config.output_dir);
  write_file_atomic(fs::path(config.output_dir) / "ches.jsonl", lines);
  log::info("CHES, length-normalised: mean ", sum / static_cast<double>(train.size()), ", largest ",
            largest);
  const auto keep =
      std::max<size_t>(1, static_cast<size_t>(std::llround(config.displacement.ches_keep *
                                                           static_cast<double>(train.size()))));
  if (keep == train.size()) return;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a].normalised < scores[b].normalised; });
  order.resize(keep);
  std::sort(order.begin(), order.end());
  std::vector<Example> kept;
  for (const size_t i : order) kept.push_back(std::move(train[i]));
  log::info(train.size() - keep, " pairs of the largest CHES are left out, ", keep, " kept");
  train = std::move(kept);
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
  set_chunk(config.head.chunk_mb, model_options.device.is_cuda(), options);
  run.chunk_bytes = options.chunk_bytes;
  std::vector<Example> train = run.train.examples;
  std::vector<Example> eval = run.eval ? run.eval->examples : std::vector<Example>();
  if (loss->rows() == Rows::scored) standardise(train, eval, run.config.data);
  if (config.displacement.ches || config.displacement.ches_keep < 1)
    use_ches(*model, config, train, rows.micro_batch_tokens);

  Frozen frozen;
  if (loss->needs().reference) {
    frozen.is_start = !config.reference.path;
    std::shared_ptr<CausalLM> reference =
        config.reference.path ? CausalLM::load(*config.reference.path, model_options)
                              : model->clone();
    if (reference->config().vocab_size != model->config().vocab_size)
      throw DataError(cat(*config.reference.path, ": the reference's vocabulary has ",
                          reference->config().vocab_size, " entries, the policy's ",
                          model->config().vocab_size));
    if (config.reference.sync_steps > 0 && reference->num_parameters() != model->num_parameters())
      throw DataError(cat(*config.reference.path,
                          ": the reference is a model of another size, so it cannot move towards "
                          "the policy; leave reference.sync_steps out"));
    if (!frozen.is_start)
      log::info("the reference is ", *config.reference.path, ", so margins need not begin at 0");
    if (config.reference.precompute) {
      frozen.logps = cached_logps(Reference(reference), train, eval, options,
                                  dataset_options(config).cache_dir);
    } else {
      run.reference_bytes =
          reference->num_parameters() * static_cast<int64_t>(c10::elementSize(model_options.dtype));
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

TrainResult train(const RunConfig& config, const Document& document, const Registry& registry,
                  const RunOptions& options) {
  const fs::path out = config.output_dir;
  make_folder(out);
  RunSetup run = set_up(config, document, registry);
  const Json resolved_config = resolved(run.config, document, registry);
  write_file_atomic(out / "luce_config.json", resolved_config.dump(2) + "\n");

  Trainer trainer(*run.task, run.trainer);
  const auto checkpoint = config.train.resume == "auto"
                              ? newest_checkpoint(out)
                              : std::optional<fs::path>(config.train.resume);
  if (checkpoint) {
    trainer.resume(*checkpoint);
    log::info("resuming at step ", trainer.first_step(), " from ", checkpoint->string());
    drop_rows_after(out / "metrics.jsonl", trainer.first_step());
  }
  RunLog run_log(out, resolved_config, run.trainer, trainer.first_step(), checkpoint.has_value(),
                 options.progress);
  trainer.on_log = [&](int64_t step, double epoch, const std::map<std::string, double>& means) {
    run_log.means(step, epoch, means);
  };
  trainer.on_samples = [&](int64_t step, const Metrics& window) { run_log.samples(step, window); };
  trainer.on_step = [&](const StepReport& report) {
    run_log.step(report);
    if (options.on_step) options.on_step(report);
  };
  if (options.stop_signal) trainer.should_stop = [&] { return options.stop_signal->load() != 0; };

  TrainResult result = trainer.run();
  run_log.finish(result);
  if (result.interrupted) return result;
  const Json sections = run.task->finish();
  if (!sections.empty())
    write_file_atomic(out / "report.json", Json{{"sections", sections}}.dump(2) + "\n");
  save_model(out, run.task->trained().decoder(), config.model.path, resolved_config);
  write_file_atomic(out / "report.html", training_report(out).html());
  log::info("the trained model is in ", out.string(), ", the report in ",
            (out / "report.html").string());
  return result;
}

}  // namespace luce
