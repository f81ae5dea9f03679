// Over-optimisation (Gao et al., arXiv:2210.10760) and ensembles of reward models against it (Coste
// et al., arXiv:2310.02743), on answers that can be listed.
#include <algorithm>
#include <cmath>

#include "experiment/experiments.h"
#include "experiment/optimisation_study.h"
#include "luce/base/error.h"

namespace luce {
namespace {

const std::vector<double> kKappas{0, 0.5, 1, 2, 4, 8, 16, 100};

std::vector<EnsembleRule> all_rules() {
  std::vector<EnsembleRule> rules{
      {"mean", {}}, {"min", {"min"}}, {"mean − 4 var", {"variance_penalty", 4}}};
  for (const double kappa : kKappas) rules.push_back(lower_bound_rule(kappa));
  return rules;
}

std::vector<std::string> shown_rules() {
  return {OptimisationStudy::kGold, OptimisationStudy::kOne, "mean", "min",
          lower_bound_rule(4).name, "mean − 4 var"};
}

Table rule_table(const OptimisationStudy& study) {
  Table table{"Gold reward along the way to the proxy's optimum",
              {"scored by", "gold at its peak", "KL there", "gold at KL 6", "proxy at KL 6",
               "peak, less one member's"},
              {},
              cat("Mean over ", study.over_kl.at(OptimisationStudy::kOne).gold.size(),
                  " worlds ± standard error; units: the standard deviation of the gold reward "
                  "under the reference. Peak: of the mean over worlds. Proxy: its gain over the "
                  "reference.")};
  for (const auto& name : shown_rules()) {
    const Course& course = study.over_kl.at(name);
    const size_t last = study.kls.size() - 1;
    table.rows.push_back({name, shown(mean_at(course.gold, course.peak()), 2),
                          fixed(study.kls[course.peak()], 2), shown(mean_at(course.gold, last), 2),
                          shown(mean_at(course.proxy, last), 2),
                          name == OptimisationStudy::kOne ? "" : shown(study.gain(name), 2)});
  }
  return table;
}

Table kappa_table(const OptimisationStudy& study) {
  Table table{"How much caution: mean − κ std",
              {"κ", "gold at KL 1", "gold at its peak", "KL there", "gold at KL 6"},
              {},
              "Mean over worlds. κ = 0 is the mean of the ensemble."};
  const auto one =
      static_cast<size_t>(std::find(study.kls.begin(), study.kls.end(), 1.0) - study.kls.begin());
  for (const double kappa : kKappas) {
    const Course& course = study.over_kl.at(lower_bound_rule(kappa).name);
    const auto gold = means(course.gold);
    table.rows.push_back({format_number(kappa), fixed(gold[one], 2), fixed(gold[course.peak()], 2),
                          fixed(study.kls[course.peak()], 2), fixed(gold.back(), 2)});
  }
  return table;
}

Table best_of_table(const OptimisationStudy& study) {
  Table table{
      "Best of n",
      {"n", "KL", "log n − (n − 1)/n", "gold, one member", "gold, mean", "gold, mean − 4 std"},
      {},
      "Exact law of the best of n draws by the proxy; KL of one member's, and its usual "
      "approximation, which is an upper bound."};
  for (size_t i = 0; i < study.draws.size(); ++i) {
    const double n = study.draws[i];
    table.rows.push_back({format_number(n),
                          fixed(mean_at(study.over_n.at(OptimisationStudy::kOne).kl, i).value, 2),
                          fixed(std::log(n) - (n - 1) / n, 2)});
    for (const auto& name :
         {std::string(OptimisationStudy::kOne), std::string("mean"), lower_bound_rule(4).name})
      table.rows.back().push_back(fixed(mean_at(study.over_n.at(name).gold, i).value, 2));
  }
  return table;
}

Table sense_table(const OptimisationStudy& knows, const OptimisationStudy& blind) {
  Table table{"Where it comes from: gold that does or does not value what the reference writes",
              {"gold reward", "scored by", "gold at its peak", "KL there", "gold at KL 6"},
              {},
              "Mean over worlds ± standard error. Without the share of log π_ref in it an answer "
              "that the reference would never write is as good as any other."};
  for (const auto& [gold, study] : {std::pair{"with log π_ref", &knows}, {"without", &blind}})
    for (const auto& name :
         {std::string(OptimisationStudy::kOne), std::string("mean"), lower_bound_rule(4).name}) {
      const Course& course = study->over_kl.at(name);
      table.rows.push_back({gold, name, shown(mean_at(course.gold, course.peak()), 2),
                            fixed(study->kls[course.peak()], 2),
                            shown(mean_at(course.gold, study->kls.size() - 1), 2)});
    }
  return table;
}

std::vector<LineChart> charts(const OptimisationStudy& study) {
  const std::string x = "KL to the reference, nats";
  const auto line = [&](const std::string& name, const auto& values, int color) {
    return Series{name, study.kls, means(values), color};
  };
  LineChart gold{"Gold reward", {}, "Mean over worlds; the optimum of each score at that KL.", x};
  LineChart gap{"Proxy and gold", {}, "The proxy goes on promising after the gold has turned.", x};
  LineChart caution{"Gold reward by caution", {}, "mean − κ std.", x};
  int color = 0;
  for (const auto& name : shown_rules())
    gold.series.push_back(line(name, study.over_kl.at(name).gold, color++));
  color = 0;
  for (const auto& name :
       {std::string(OptimisationStudy::kOne), std::string("mean"), lower_bound_rule(4).name}) {
    gap.series.push_back(line(name + ": proxy", study.over_kl.at(name).proxy, color++));
    gap.series.push_back(line(name + ": gold", study.over_kl.at(name).gold, color++));
  }
  color = 0;
  for (const double kappa : {0.0, 1.0, 4.0, 16.0, 100.0})
    caution.series.push_back(line("κ = " + format_number(kappa),
                                  study.over_kl.at(lower_bound_rule(kappa).name).gold, color++));
  LineChart draws{"Best of n", {}, "Gold reward of the best of n by each score.", "KL, nats"};
  color = 0;
  for (const auto& name :
       {std::string(OptimisationStudy::kOne), std::string("mean"), lower_bound_rule(4).name}) {
    const Course& course = study.over_n.at(name);
    draws.series.push_back({name, means(course.kl), means(course.gold), color++});
  }
  std::vector<LineChart> all{gold, gap, caution, draws};
  for (LineChart& chart : all) chart.smooth = false;
  return all;
}

Json figures_of(const OptimisationStudy& study) {
  Json out{{"kl", study.kls}, {"n", study.draws}};
  for (const auto& [name, course] : study.over_kl) {
    Json& rule = out["rules"][name];
    rule["gold"] = means(course.gold);
    rule["proxy"] = means(course.proxy);
    rule["reached_kl"] = means(course.kl);
    rule["peak"] = {{"kl", study.kls[course.peak()]},
                    {"gold", mean_at(course.gold, course.peak()).value},
                    {"error", mean_at(course.gold, course.peak()).error}};
    rule["gain"] = {{"value", study.gain(name).value}, {"error", study.gain(name).error}};
    const Course& best = study.over_n.at(name);
    rule["best_of_n"] = {{"kl", means(best.kl)}, {"gold", means(best.gold)}};
  }
  return out;
}

std::string answer_of(const OptimisationStudy& study, const OptimisationStudy& blind) {
  const auto told = [&](const std::string& name) {
    const Course& course = study.over_kl.at(name);
    return cat(fixed(mean_at(course.gold, course.peak()).value, 2), " at KL ",
               fixed(study.kls[course.peak()], 2));
  };
  const auto last = [&](const std::string& name, bool gold) {
    const Course& course = study.over_kl.at(name);
    return fixed(mean_at(gold ? course.gold : course.proxy, study.kls.size() - 1).value, 2);
  };
  const std::string bound = lower_bound_rule(4).name, large = lower_bound_rule(100).name;
  return cat(
      "By one reward model the gold reward rises to ", told(OptimisationStudy::kOne),
      " and falls to ", last(OptimisationStudy::kOne, true), " at KL 6, where the model promises ",
      last(OptimisationStudy::kOne, false), ". The mean of an ensemble reaches ", told("mean"),
      ", the minimum ", told("min"), ", and ", bound, " ", told(bound), ": ",
      shown(study.gain(bound), 2),
      " above one model at its best. Caution lifts the peak and slows the fall, but abolishes "
      "neither, and it has a price: at κ = 100, where little but agreement counts, the best is ",
      told(large),
      ". All of it rests on the gold reward valuing what the reference writes: one that does "
      "not is by one model ",
      fixed(means(blind.over_kl.at(OptimisationStudy::kOne).gold).back(), 2), " at KL 6.");
}

Findings run(const ExperimentOptions& options) {
  const int worlds = options.quick ? 8 : 24;
  const double step = options.quick ? 0.5 : 0.25;
  const OptimisationStudy study({}, all_rules(), worlds, step, options.seed);
  const OptimisationStudy blind({.sense = 0}, {{"mean", {}}, lower_bound_rule(4)}, worlds, step,
                                options.seed);
  Findings found;
  found.tables = {rule_table(study), kappa_table(study), best_of_table(study),
                  sense_table(study, blind)};
  found.charts = charts(study);
  found.figures = {{"worlds", worlds},
                   {"gold_values_the_reference", figures_of(study)},
                   {"gold_does_not", figures_of(blind)}};
  found.answer = answer_of(study, blind);
  return found;
}

}  // namespace

Experiment over_optimisation() {
  return {"over-optimisation", "Over-optimisation of reward models",
          "How far can a policy follow a learnt reward before the true one falls, and what does "
          "an ensemble change?",
          run};
}

}  // namespace luce
