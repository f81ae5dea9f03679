// The verbs of the command line; each adds its options to the app and a callback that does the
// work.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "luce/loss/registry.h"

namespace luce::cli {

/// What all verbs share. A verb that ends otherwise than with success sets `exit_code`.
struct Context {
  Registry registry;  // the program's own, and what plug-ins add
  int exit_code = 0;
  bool quiet = false;  // no progress, no notes
};

/// Gives a verb that reads no config the option --plugin. It is obeyed before the verb runs.
void add_plugin_option(CLI::App& verb, Context& context);

void add_train(CLI::App& app, Context& context);
void add_check(CLI::App& app, Context& context);
void add_check_loss(CLI::App& app, Context& context);
void add_experiment(CLI::App& app, Context& context);
void add_init(CLI::App& app, Context& context);
void add_generate(CLI::App& app, Context& context);
void add_logprobs(CLI::App& app, Context& context);
void add_score(CLI::App& app, Context& context);  // and judge-rows
void add_eval(CLI::App& app, Context& context);
void add_report(CLI::App& app, Context& context);
void add_list(CLI::App& app, Context& context);
void add_explain(CLI::App& app, Context& context);
void add_schema(CLI::App& app, Context& context);
void add_env(CLI::App& app, Context& context);

}  // namespace luce::cli
