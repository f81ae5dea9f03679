#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>

#include "luce/base/error.h"
#include "luce/base/progress.h"
#include "luce/data/judgements.h"
#include "luce/data/preference_statistics.h"
#include "luce/train/run.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct Args {
  std::string config;
  std::vector<std::string> overrides;
  int64_t rows = 3;
};

/// Tokens of one row: plain where they are context, marked where they are scored.
void render(const Example& row, const Tokenizer* tokenizer, bool color, std::ostream& out) {
  const auto text = [&](int64_t id) { return tokenizer ? tokenizer->piece(id) : cat(id, " "); };
  const auto completion = [&](size_t k, const std::string& name) {
    const auto& ids = row.completions[k];
    out << "  " << name << " (" << ids.size() << " tokens): ";
    for (const int64_t id : ids)
      out << (color ? "\x1b[32m" : "[") << text(id) << (color ? "\x1b[0m" : "]");
    out << "\n";
  };
  out << "row " << row.row << "\n  prompt (" << row.prompt.size() << " tokens): ";
  for (const int64_t id : row.prompt) out << text(id);
  out << "\n";
  for (size_t k = 0; k < row.completions.size(); ++k) {
    std::string name =
        row.completions.size() == 1 && row.roles.empty() ? "scored" : name_of(row.role(k));
    if (k < row.scores.size()) name += cat(", score ", row.scores[k]);
    completion(k, name);
  }
  if (row.margin != 0) out << "  margin " << row.margin << "\n";
  if (row.preference != 1) out << "  preference " << row.preference << "\n";
}

void histogram(const std::vector<Example>& rows, std::ostream& out) {
  std::vector<int64_t> lengths;
  for (const auto& row : rows)
    for (const auto& c : row.completions)
      lengths.push_back(static_cast<int64_t>(row.prompt.size() + c.size()));
  if (lengths.empty()) return;
  std::sort(lengths.begin(), lengths.end());
  const auto quantile = [&](double q) {
    return lengths[static_cast<size_t>(q * static_cast<double>(lengths.size() - 1))];
  };
  out << "lengths (prompt and answer, tokens): min " << lengths.front() << ", median "
      << quantile(0.5) << ", 90 % " << quantile(0.9) << ", max " << lengths.back() << "\n";
  const int64_t bins = 8, width = std::max<int64_t>(1, (lengths.back() + bins) / bins);
  std::vector<int64_t> count(static_cast<size_t>(bins));
  for (const int64_t n : lengths) ++count[static_cast<size_t>(std::min(bins - 1, n / width))];
  const int64_t most = *std::max_element(count.begin(), count.end());
  for (int64_t b = 0; b < bins; ++b) {
    const int64_t n = count[static_cast<size_t>(b)];
    out << "  " << std::setw(6) << b * width << " … " << std::setw(6) << (b + 1) * width - 1 << " "
        << std::string(static_cast<size_t>((n * 40 + most - 1) / most), '#') << " " << n << "\n";
  }
}

/// The first rows, lengths, and what pairs tell.
void show_rows(const Args& args, const RunSetup& run, bool color, std::ostream& out) {
  out << "data: " << describe(run.train.report) << "\n";
  if (run.eval) out << "evaluation: " << run.eval->examples.size() << " rows\n";
  out << "\nThe first rows as the model sees them; tokens "
      << (color ? "in colour" : "in [brackets]") << " are scored:\n";
  for (size_t i = 0; i < run.train.examples.size() && static_cast<int64_t>(i) < args.rows; ++i)
    render(run.train.examples[i], run.tokenizer.get(), color, out);
  out << "\n";
  histogram(run.train.examples, out);
  auto statistics = preference_statistics(
      run.train.examples, run.eval ? &run.eval->examples : nullptr, run.tokenizer.get());
  statistics.for_rewards = run.config.task == "reward";
  const std::string pairs = describe(statistics);
  if (!pairs.empty()) out << "\n" << pairs;
}

/// Memory of each model, of logits, and what is not known before.
void memory(const RunSetup& run, std::ostream& out) {
  const RunConfig& config = run.config;
  const auto parameters = static_cast<double>(run.model->num_parameters());
  const double bytes = config.model.dtype == "float64"    ? 8
                       : config.model.dtype == "bfloat16" ? 2
                                                          : 4;
  const double state = bytes == 8 ? 24 : 12;  // gradient and two moments
  const double master = bytes == 2 ? 4 : 0;
  const auto trained = static_cast<int64_t>(parameters * (bytes + state + master));
  int64_t all = trained;
  for (const auto& role : run.roles) all += role.bytes;
  out << "memory: " << format_bytes(all) << ": " << format_bytes(trained) << " for the "
      << (config.task == "reward" ? "model" : "policy") << " of " << format_count(parameters)
      << " parameters with gradients and moments";
  for (const auto& role : run.roles)
    out << ", " << format_bytes(role.bytes) << " for the " << role.role;
  if (run.chunk_bytes > 0) out << "; at most " << format_bytes(run.chunk_bytes) << " of logits";
  out << "; and the activations of a micro-batch\n";
}

void check(const Args& args, Context& context) {
  Document document = Document::read(args.config);
  for (const auto& o : args.overrides) document.override_with(o);
  load_plugins(context.registry, document);
  const RunConfig config = parse_run_config(document, context.registry);
  RunSetup run = set_up(config, document, context.registry);
  const char* no_color = std::getenv("NO_COLOR");
  const bool color = isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
  auto& out = std::cout;

  out << "config: " << args.config << ", task " << config.task << "\n";
  if (run.prompts > 0)
    out << "data: " << run.prompts << " prompts\n";
  else
    show_rows(args, run, color, out);
  out << "\nsteps: " << run.trainer.steps << " (" << run.task->steps_per_epoch()
      << " an epoch), learning rate " << config.learning_rate() << "\n";
  memory(run, out);

  const Step step = run.task->next(0);
  Metrics metrics;
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < step.micro_batches.size(); ++i) run.task->accumulate(step, i, metrics);
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  metrics.add("loss", 0, 1);
  const double norm = gradient_norm(run.task->trained().parameters());
  if (!std::isfinite(norm)) throw SanityError("the gradient of the first step is not finite");
  out << "one step without an update: " << step.rows.size() << " rows in "
      << step.micro_batches.size() << " micro-batches, "
      << format_count(metrics.sum("num_tokens") / took) << " tokens/s, loss "
      << metrics.mean("loss") << ", gradient norm " << norm << ", peak memory "
      << format_bytes(peak_resident_bytes()) << "\n";
  out << "the run would take about "
      << format_seconds(took * static_cast<double>(run.trainer.steps)) << "\n";
}

}  // namespace

void add_check(CLI::App& app, Context& context) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand(
      "check",
      "Dry run of a config: rows with their loss mask, lengths, what pairs tell, memory, one step");
  verb->add_option("CONFIG", args->config, "JSON config, comments allowed")->required();
  verb->add_option("OVERRIDES", args->overrides, "key.path=value");
  verb->add_option("--rows", args->rows, "Rows to show")->capture_default_str();
  verb->callback([args, &context] { check(*args, context); });
}

}  // namespace luce::cli
