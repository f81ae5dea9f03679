// Calculations that show something by themselves: luce experiment NAME.
#include <iomanip>
#include <iostream>

#include "luce/base/error.h"
#include "luce/oracle/identities.h"
#include "verbs.h"

namespace luce::cli {
namespace {

/// One line an identity: what it says, how far its sides lie apart, and its figure.
void identities() {
  int failed = 0;
  for (const auto& identity : oracle::identities()) {
    const oracle::Result result = identity.check();
    failed += result.holds() ? 0 : 1;
    std::cout << (result.holds() ? "ok     " : "FAILED ") << std::setw(2) << identity.number << "  "
              << identity.statement << "\n            deviation " << std::setprecision(2)
              << result.deviation << " of at most " << result.bound
              << (result.figure.empty() ? "" : "; " + result.figure) << "\n";
  }
  const auto all = oracle::identities().size();
  std::cout << all - static_cast<size_t>(failed) << " of " << all << " identities hold\n";
  if (failed > 0)
    throw SanityError(cat(failed, " of ", all, " identities do not hold on this machine"));
}

}  // namespace

void add_experiment(CLI::App& app, Context&) {
  auto name = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("experiment", "Exact calculations on small tables");
  verb->add_option("NAME", *name, "identities: statements that hold exactly, computed both ways")
      ->required();
  verb->callback([name] {
    if (*name != "identities")
      throw UsageError(cat("there is no experiment \"", *name, "\"; there is identities"));
    identities();
  });
}

}  // namespace luce::cli
