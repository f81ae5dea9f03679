#include "luce/experiment/experiment.h"

#include <algorithm>

#include "experiment/experiments.h"
#include "luce/base/error.h"

namespace luce {

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> all{
      three_actions(), deterministic_preferences(),
      displacement(),  one_family(),
      kl_estimators(), over_optimisation(),
      exposure_bias(), dpo_and_rlhf(),
      frontier(),      sums(),
  };
  return all;
}

const Experiment& find_experiment(const std::string& name) {
  std::vector<std::string> names;
  for (const Experiment& experiment : experiments()) {
    if (experiment.name == name) return experiment;
    names.push_back(experiment.name);
  }
  names.push_back("identities");  // the command line's own
  const std::string near = nearest(name, names);
  std::string all;
  for (const auto& known : names) all += (all.empty() ? "" : ", ") + known;
  throw UsageError(cat("there is no experiment \"", name, "\"",
                       near.empty() ? "" : cat(" (did you mean \"", near, "\"?)"),
                       "; the experiments are ", all));
}

Report page(const Experiment& experiment, const Findings& findings) {
  Report report;
  report.title = experiment.title;
  report.lead = experiment.question;
  report.callout(findings.answer);
  for (const LineChart& chart : findings.charts) report.chart(chart);
  for (const Table& table : findings.tables) report.table(table);
  return report;
}

}  // namespace luce
