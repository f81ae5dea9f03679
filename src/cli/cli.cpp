#include "luce/cli.h"

#include <c10/util/Exception.h>

#include <iostream>
#include <new>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/base/progress.h"
#include "luce/version.h"
#include "verbs.h"

namespace luce {
namespace {

int failed(Exit code, const std::string& sentence) {
  clear_progress_line();
  std::cerr << "luce: " << sentence << "\n";
  return static_cast<int>(code);
}

/// What was wrong with the command line; CLI11 says of any unknown verb that one is required.
std::string usage_error(const CLI::App& app, const CLI::ParseError& failure) {
  const bool is_verb = failure.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError) &&
                       app.get_subcommands().empty();
  if (!is_verb) return failure.what();
  std::vector<std::string> verbs;
  std::string all;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    verbs.push_back(verb->get_name());
    all += (all.empty() ? "" : ", ") + verbs.back();
  }
  const auto words = app.remaining();
  if (words.empty() || words.front().starts_with("-")) return "a verb is needed: " + all;
  const std::string near = nearest(words.front(), verbs);
  return cat("unknown verb \"", words.front(), "\"",
             near.empty() ? "; the verbs are " + all : "; did you mean \"" + near + "\"?");
}

}  // namespace

int run_cli(int argc, const char* const* argv, const Registry& registry) {
  CLI::App app("Preference training of language models", "luce");
  app.set_version_flag("--version", cat("luce ", kVersion));
  app.require_subcommand(1);
  cli::Context context{.registry = registry};
  bool verbose = false;
  app.add_flag("-q,--quiet", context.quiet, "Print warnings and errors only");
  app.add_flag("-v,--verbose", verbose, "Print more");
  app.parse_complete_callback([&] {
    if (verbose) log::set_level(log::Level::debug);
    if (context.quiet) log::set_level(log::Level::warn);
  });
  app.fallthrough();
  cli::add_train(app, context);
  cli::add_check(app, context);
  cli::add_check_loss(app, context);
  cli::add_experiment(app, context);
  cli::add_init(app, context);
  cli::add_generate(app, context);
  cli::add_logprobs(app, context);
  cli::add_score(app, context);
  cli::add_eval(app, context);
  cli::add_report(app, context);
  cli::add_list(app, context);
  cli::add_explain(app, context);
  cli::add_schema(app, context);
  cli::add_env(app, context);
  try {
    app.parse(argc, argv);
    std::cout.flush();
    if (!std::cout) throw WriteError("cannot write to stdout");
    return context.exit_code;
  } catch (const CLI::Success& request) {
    return app.exit(request);  // --help, --version
  } catch (const CLI::ParseError& failure) {
    return failed(Exit::usage, cat(usage_error(app, failure),
                                   "\nRun `luce --help` for the verbs, `luce VERB --help` "
                                   "for their options."));
  } catch (const Error& failure) {
    return failed(failure.code(), failure.what());
  } catch (const std::bad_alloc&) {
    return failed(Exit::resource, "out of memory");
  } catch (const c10::OutOfMemoryError& failure) {
    return failed(Exit::resource, failure.what_without_backtrace());
  } catch (const c10::Error& failure) {
    const std::string what = failure.what_without_backtrace();
    const auto wanted = what.find("you tried to allocate");  // by the CPU's allocator
    if (wanted != std::string::npos)
      return failed(Exit::resource, "out of memory: " + what.substr(wanted));
    return failed(Exit::bug, "a bug in Luce: " + what);
  } catch (const std::exception& failure) {
    return failed(Exit::bug, cat("a bug in Luce: ", failure.what()));
  }
}

}  // namespace luce
