// Calculations that show something by themselves: luce experiment NAME.
#include "luce/experiment/experiment.h"

#include <iomanip>
#include <iostream>

#include "luce/base/error.h"
#include "luce/base/file.h"
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

void list() {
  const auto line = [](const std::string& name, const std::string& title) {
    std::cout << "  " << std::left << std::setw(28) << name << title << "\n";
  };
  for (const Experiment& experiment : experiments()) line(experiment.name, experiment.title);
  line("identities", "Statements that hold exactly, computed both ways");
}

struct Request {
  std::string name, out;
  ExperimentOptions options;
  bool list = false, markdown = false;
};

/// NAME.json and NAME.html in the folder.
void write(const Experiment& experiment, const Findings& findings, const Request& request) {
  const std::filesystem::path folder = request.out;
  const Json result{{"experiment", experiment.name},
                    {"quick", request.options.quick},
                    {"seed", request.options.seed},
                    {"answer", findings.answer},
                    {"figures", findings.figures}};
  write_file_atomic(folder / (experiment.name + ".json"), result.dump(2) + "\n");
  write_file_atomic(folder / (experiment.name + ".html"), page(experiment, findings).html());
}

void run(const Request& request) {
  const Experiment& experiment = find_experiment(request.name);
  if (!request.out.empty()) make_folder(request.out);  // or refuse before a minute's work
  const Findings findings = experiment.run(request.options);
  if (!request.out.empty()) write(experiment, findings, request);
  if (request.markdown)
    std::cout << markdown(findings.tables);
  else
    std::cout << experiment.title << "\n"
              << experiment.question << "\n\n"
              << findings.answer << "\n\n"
              << plain_text(findings.tables);
}

}  // namespace

void add_experiment(CLI::App& app, Context&) {
  auto request = std::make_shared<Request>();
  CLI::App* verb = app.add_subcommand(
      "experiment", "What methods do, shown on problems whose right answer is known");
  verb->add_option("NAME", request->name, "An experiment, or identities; without it, a list");
  verb->add_flag("--list", request->list, "Names and titles of all experiments");
  verb->add_flag("--quick", request->options.quick, "Smaller numbers, a few seconds");
  verb->add_option("--seed", request->options.seed, "Of everything that is random")
      ->capture_default_str();
  verb->add_option("--out", request->out, "Folder for NAME.json and the page NAME.html");
  verb->add_flag("--markdown", request->markdown, "Print the tables alone, as docs/experiments");
  verb->callback([request, verb] {
    if (request->list || request->name.empty()) return list();
    if (request->name != "identities") return run(*request);
    for (const char* option : {"--quick", "--seed", "--out", "--markdown"})
      if (verb->count(option) > 0)
        throw UsageError(cat(option, " is for experiments; identities are always the same"));
    identities();
  });
}

}  // namespace luce::cli
