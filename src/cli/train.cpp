#include <unistd.h>

#include <csignal>
#include <iostream>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/train/run.h"
#include "verbs.h"

namespace luce::cli {
namespace {

std::atomic<int> stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal) {
  // The first signal asks the trainer to finish its step; a second interrupt leaves at once.
  if (stop_signal.exchange(signal) != 0 && signal == SIGINT) _exit(static_cast<int>(Exit::sigint));
}

struct Args {
  std::string config;
  std::vector<std::string> overrides;
  bool no_progress = false;
};

}  // namespace

void add_train(CLI::App& app, Context& context) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("train", "Train a model as a config file says");
  verb->add_option("CONFIG", args->config, "JSON config, comments allowed")->required();
  verb->add_option("OVERRIDES", args->overrides,
                   "key.path=value, for example train.learning_rate=1e-5");
  verb->add_flag("--no-progress", args->no_progress, "No progress bar");
  verb->callback([args, &context] {
    Document document = Document::read(args->config);
    for (const auto& o : args->overrides) document.override_with(o);
    load_plugins(context.registry, document);
    const RunConfig config = parse_run_config(document, context.registry);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, on_signal);
    const TrainResult result = train(config, document, context.registry,
                                     {.progress = !args->no_progress && !context.quiet,
                                      .stop_signal = &stop_signal,
                                      .on_step = {}});
    if (!result.interrupted) return;
    std::string again = "luce train " + args->config;
    for (const auto& o : args->overrides)
      if (!o.starts_with("train.resume=")) again += " " + o;
    log::warn("stopped after step ", result.steps, ", saved in ", result.checkpoint.string(),
              ". Go on with: ", again, " train.resume=auto");
    context.exit_code =
        static_cast<int>(stop_signal.load() == SIGINT ? Exit::sigint : Exit::interrupted);
  });
}

}  // namespace luce::cli
