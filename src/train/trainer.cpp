#include "luce/train/trainer.h"

#include <chrono>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"

namespace luce {

Trainer::Trainer(Task& task, TrainerOptions options)
    : task_(task),
      options_(std::move(options)),
      optimizer_(task_.trained().parameters(), options_.adamw),
      companions_(task_.companions()) {
  for (const Companion& c : companions_)
    companion_optimizers_.emplace_back(*c.parameters, options_.adamw);
}

void Trainer::resume(const std::filesystem::path& checkpoint) {
  state_ = load_checkpoint(checkpoint, task_, optimizer_, companion_optimizers_);
}

double Trainer::epoch_at(int64_t step) const {
  return static_cast<double>(step) / static_cast<double>(task_.steps_per_epoch());
}

TrainResult Trainer::run() {
  Metrics window;
  TrainResult result;
  if (options_.eval_on_start && state_.global_step == 0 && task_.can_evaluate()) evaluate(0);
  for (int64_t step = state_.global_step; step < options_.steps; ++step) {
    one_step(step, window);
    const int64_t done = state_.global_step = step + 1;
    const bool last = done == options_.steps;
    if (last || done % options_.logging_steps == 0) {
      auto means = window.means();
      means["num_tokens"] = state_.num_tokens;  // a running total, not a mean
      if (on_log) on_log(done, epoch_at(done), means);
      if (on_samples) on_samples(done, window);
      window.clear();
    }
    const int64_t every = options_.eval_steps > 0 ? options_.eval_steps : task_.steps_per_epoch();
    if (task_.can_evaluate() && (last || done % every == 0)) evaluate(done);
    const bool stop = !last && should_stop && should_stop();
    if (stop || (options_.save_steps > 0 && done % options_.save_steps == 0)) save(done);
    if (stop) {
      result.interrupted = true;
      result.checkpoint = options_.output_dir / cat("checkpoint-", done);
      break;
    }
  }
  result.steps = state_.global_step;
  if (!result.interrupted && options_.keep_best && !state_.best_checkpoint.empty()) {
    const auto best = options_.output_dir / state_.best_checkpoint;
    log::info("the best model is that of ", best.string(), " (", options_.best_metric, " ",
              state_.best_metric.value_or(NAN), ")");
    load_checkpoint(best, task_, optimizer_, companion_optimizers_);
  }
  return result;
}

double Trainer::checked_norm(const std::vector<Parameter>& parameters, const Step& work,
                             int64_t step) const {
  const double norm = gradient_norm(parameters);
  if (std::isfinite(norm)) return norm;
  std::string rows;
  for (size_t i = 0; i < work.rows.size() && i < 8; ++i) rows += cat(i ? ", " : "", work.rows[i]);
  throw SanityError(cat("step ", step + 1, ": the gradient is not finite (norm ", norm,
                        "), on rows ", rows, work.rows.size() > 8 ? ", …" : "",
                        " of the data; the model was not updated"));
}

void Trainer::one_step(int64_t step, Metrics& window) {
  const auto begin = std::chrono::steady_clock::now();
  Trainable& model = task_.trained();
  Step work = task_.next(step);
  work.detailed = (step + 1) % options_.logging_steps == 0 || step + 1 == options_.steps;
  model.zero_gradients();
  for (const Companion& c : companions_)
    for (const Parameter& p : *c.parameters) p.grad.zero_();
  Metrics metrics;
  for (size_t i = 0; i < work.micro_batches.size(); ++i) task_.accumulate(work, i, metrics);

  // All norms before the first update: a step happens whole or not at all.
  const double norm = checked_norm(model.parameters(), work, step);
  std::vector<double> norms;
  for (const Companion& c : companions_) norms.push_back(checked_norm(*c.parameters, work, step));
  const double lr = options_.schedule.at(step);
  optimizer_.step(lr, clip_factor(norm, options_.max_grad_norm));
  for (size_t i = 0; i < companions_.size(); ++i) {
    const double peak = companions_[i].learning_rate;
    Schedule own = options_.schedule;
    if (peak > 0) own.learning_rate = peak;
    companion_optimizers_[i].step(own.at(step), clip_factor(norms[i], options_.max_grad_norm));
    metrics.set(companions_[i].name + "/grad_norm", norms[i]);
  }
  task_.after_step(step + 1, metrics);

  state_.num_tokens += metrics.sum("num_tokens");
  metrics.add("loss", 0, 1);
  metrics.set("grad_norm", norm);
  metrics.set("learning_rate", lr);
  window.merge(metrics);
  if (on_step)
    on_step(
        {.step = step + 1,
         .epoch = epoch_at(step + 1),
         .loss = metrics.mean("loss"),
         .grad_norm = norm,
         .learning_rate = lr,
         .num_tokens = state_.num_tokens,
         .rows = static_cast<double>(work.rows.size()),
         .seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
         .metrics = metrics});
}

void Trainer::evaluate(int64_t step) {
  Metrics metrics;
  metrics.merge(task_.evaluate(), "eval_");
  const auto means = metrics.means();
  if (on_log) on_log(step, epoch_at(step), means);
  if (!options_.keep_best) return;
  const auto found = means.find(options_.best_metric);
  if (found == means.end()) {
    std::string names;
    for (const auto& [name, value] : means) names += (names.empty() ? "" : ", ") + name;
    throw UsageError(cat("train.metric_for_best_model is \"", options_.best_metric,
                         "\", which the evaluation does not give; it gives ", names));
  }
  const double sign = options_.greater_is_better ? 1 : -1;
  if (state_.best_metric && !(sign * found->second > sign * *state_.best_metric)) return;
  state_.best_metric = found->second;
  state_.best_checkpoint = cat("checkpoint-", step);
  save(step);
}

void Trainer::save(int64_t step) {
  const auto folder = save_checkpoint(options_.output_dir, task_, optimizer_, companion_optimizers_,
                                      state_, options_.model_source);
  remove_old_checkpoints(options_.output_dir, options_.save_total_limit, state_.best_checkpoint);
  log::info("step ", step, ": saved ", folder.string());
}

}  // namespace luce
