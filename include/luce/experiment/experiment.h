// Experiments: what a method does, shown on problems small enough that the right answer is known.
// `luce experiment NAME` runs one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "luce/base/json.h"
#include "luce/data/chart.h"
#include "luce/data/report.h"

namespace luce {

struct ExperimentOptions {
  bool quick = false;  // a small version, for a test: same questions, smaller numbers
  uint64_t seed = 1;
};

/// What an experiment found.
struct Findings {
  std::string answer;             // what was asked comes out how, in paragraphs
  std::vector<Table> tables;      // for the terminal, the page and the docs
  std::vector<LineChart> charts;  // for the page
  Json figures;                   // every number of the tables and charts, by name, unrounded
};

struct Experiment {
  std::string name, title, question;
  Findings (*run)(const ExperimentOptions& options) = nullptr;
};

/// All of them, in the order of the docs.
const std::vector<Experiment>& experiments();

/// The experiment of that name. Throws UsageError that lists the known ones.
const Experiment& find_experiment(const std::string& name);

/// The findings as a page of HTML that needs nothing else.
Report page(const Experiment& experiment, const Findings& findings);

/// The tables as Markdown, for docs/experiments, and as aligned text, for a terminal.
std::string markdown(const std::vector<Table>& tables);
std::string plain_text(const std::vector<Table>& tables);

}  // namespace luce
