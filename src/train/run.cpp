#include "luce/train/run.h"

#include <chrono>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/base/progress.h"
#include "luce/data/event_file.h"
#include "luce/data/metrics_file.h"
#include "luce/data/model_folder.h"
#include "luce/data/training_report.h"
#include "luce/train/model_card.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
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

}  // namespace

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
