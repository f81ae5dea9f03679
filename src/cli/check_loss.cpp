#include <iostream>

#include "luce/base/error.h"
#include "luce/loss/check.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct Args {
  std::string loss;
  std::vector<std::string> options;
  CheckOptions check;
};

/// One line a check; a table follows its line, indented.
void print(const LossCheck& check, std::ostream& out) {
  std::string what = check.what;
  for (size_t at = 0; (at = what.find('\n', at)) != std::string::npos; at += 7)
    what.replace(at, 1, "\n      ");
  out << (check.passed ? "ok    " : "FAIL  ") << check.name << ": " << what << "\n";
}

void check_loss_named(const Args& args, const Registry& registry) {
  const LossInfo& info = registry.find(args.loss, "luce check-loss");
  Document config = Document::of({{"loss", {{"type", info.name}}}}, "luce check-loss");
  for (const auto& option : args.options) config.override_with("loss." + option);
  const auto checks = check_loss([&] { return registry.make_loss(config); }, args.check);
  std::string failed;
  for (const LossCheck& check : checks) {
    print(check, std::cout);
    if (!check.passed) failed += (failed.empty() ? "" : ", ") + check.name;
  }
  if (!failed.empty())
    throw SanityError(cat("the loss \"", info.name, "\" fails these checks: ", failed));
  std::cout << "The loss \"" << info.name << "\" passes.\n";
}

}  // namespace

void add_check_loss(CLI::App& app, Context& context) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand(
      "check-loss", "Try a loss on random rows: its gradient, how it may be cut, extremes");
  verb->add_option("NAME", args->loss, "A loss, as `luce list` names it")->required();
  verb->add_option("OPTIONS", args->options, "Its options as key=value, for example beta=0.3");
  verb->add_option("--seed", args->check.seed, "Of the random rows")->capture_default_str();
  verb->add_flag("--constants", args->check.holds_constants,
                 "The loss holds a part of its value constant on purpose: do not compare its "
                 "gradient with differences of its value");
  add_plugin_option(*verb, context);
  verb->callback([args, &context] { check_loss_named(*args, context.registry); });
}

}  // namespace luce::cli
