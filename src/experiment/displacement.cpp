// Likelihood displacement (Razin et al., arXiv:2410.08847) on a trained model: which pairs lose
// their chosen answer to preference training, where it goes, and which losses keep it. Letters:
//   Δ = log π(y) − log π_start(y)      CHES: include/luce/train/displacement.h
#include "experiment/displacement_runs.h"
#include "experiment/experiments.h"
#include "experiment/text.h"
#include "luce/base/error.h"

namespace luce {
namespace {

using Numbers = DisplacementWorld::Numbers;

std::string cell(const Numbers& numbers, const std::string& name) {
  return shown(mean_of(numbers.at(name)), 2);
}

Table thirds_table(const Numbers& numbers) {
  Table table{"Which pairs lose their chosen answer, by CHES at the start",
              {"trained by dpo", "rank correlation", "lowest CHES", "middle", "highest CHES"},
              {},
              "Change of log π(chosen), nats, mean over the pairs of each third, and its rank "
              "correlation with CHES over all pairs. Mean over worlds ± standard error."};
  const auto row = [&](const std::string& said, const std::string& correlation,
                       const std::string& before, const std::string& after) {
    table.rows.push_back({said, correlation.empty() ? "" : cell(numbers, correlation)});
    for (const int k : {0, 1, 2}) table.rows.back().push_back(cell(numbers, cat(before, k, after)));
  };
  row("all pairs together", "dpo/rank_correlation", "dpo/chosen_third_", "");
  row("each pair alone", "alone/rank_correlation", "alone/chosen_third_", "");
  row("this third alone: its pairs", "", "third_", "/own");
  row("this third alone: all other pairs", "", "third_", "/others");
  row("all together: share where both answers fell", "", "dpo/both_fell_third_", "");
  return table;
}

Table loss_table(const Numbers& numbers) {
  Table table{"Which losses avoid it",
              {"loss", "chosen", "rejected", "both fell", "highest CHES: chosen"},
              {},
              "Mean change of log π, nats, after the same steps on all pairs; the share of pairs "
              "whose two answers both fell. Mean over worlds ± standard error."};
  for (const auto& method : displacement_methods())
    table.rows.push_back({method.name, cell(numbers, method.name + "/chosen"),
                          cell(numbers, method.name + "/rejected"),
                          cell(numbers, method.name + "/both_fell"),
                          cell(numbers, method.name + "/chosen_third_2")});
  return table;
}

Table mass_table(const Numbers& numbers) {
  Table table{"Where the mass went, over all answers",
              {"answers", "lowest CHES: start", "after dpo", "highest CHES: start", "after dpo"},
              {},
              "Exact probability, mean over prompts. Synonyms: other answers of the same three "
              "classes of words. All else: the other answers of the 1,728, and what is no answer."};
  for (const auto& [said, kind] : {std::pair{"the chosen answer", "chosen"},
                                   {"the rejected answer", "rejected"},
                                   {"synonyms of the chosen answer", "chosen_synonyms"},
                                   {"synonyms of the rejected answer", "rejected_synonyms"},
                                   {"all other answers", "others"},
                                   {"no answer", "no_answer"}}) {
    table.rows.push_back({said});
    for (const int k : {0, 2})
      for (const char* const when : {"_before", "_after"})
        table.rows.back().push_back(
            fixed(mean_of(numbers.at(cat("mass_", k, "/", kind, when))).value, 3));
  }
  return table;
}

Table token_table(const Numbers& numbers) {
  return {"Who gained most at the places of the chosen answers",
          {"the token itself", "its synonym", "another token"},
          {{cell(numbers, "top/target"), cell(numbers, "top/synonym"), cell(numbers, "top/other")}},
          "Share of places, all pairs, after dpo. Mean over worlds ± standard error."};
}

std::vector<LineChart> charts(const DisplacementWorld& world) {
  LineChart course{
      "DPO, step by step", {}, "Mean change of log π since the start, first world.", "step"};
  course.smooth = false;
  course.baseline = 0;
  const auto lines = world.course();
  const std::vector<std::string> names{"chosen, lowest CHES", "chosen, middle",
                                       "chosen, highest CHES", "rejected, all"};
  for (size_t i = 0; i < lines.size(); ++i) {
    Series line{names[i], {}, lines[i], static_cast<int>(i)};
    for (size_t step = 0; step < lines[i].size(); ++step)
      line.x.push_back(static_cast<double>(step));
    course.series.push_back(line);
  }
  LineChart pairs{"Every pair by its CHES",
                  {},
                  "Change of log π(chosen) after DPO, first world.",
                  "CHES at the start"};
  pairs.smooth = false;
  pairs.baseline = 0;
  Series dots{"pairs", {}, {}, 0, true};
  for (const auto& [score, moved] : world.scatter()) {
    dots.x.push_back(score);
    dots.y.push_back(moved);
  }
  pairs.series.push_back(dots);
  return {course, pairs};
}

std::string answer_of(const Numbers& numbers) {
  const auto value = [&](const std::string& name, int decimals = 2) {
    return fixed(mean_of(numbers.at(name)).value, decimals);
  };
  return cat(
      "DPO raises the chosen answers of the pairs with the lowest CHES by ",
      value("dpo/chosen_third_0"), " nats and lowers those of the highest by ",
      fixed(-mean_of(numbers.at("dpo/chosen_third_2")).value, 2), "; both answers fall in ",
      value("dpo/both_fell_third_0"), " and ", value("dpo/both_fell_third_2"),
      " of them. The rank correlation of CHES at the start with the change is ",
      value("dpo/rank_correlation"), " when all pairs are trained together and ",
      value("alone/rank_correlation"),
      " when each is trained alone: CHES ranks, it does not decide, since pairs move each other. "
      "Training on the lowest third alone keeps its own chosen answers (",
      value("third_0/own"), ") but not those of the other prompts (", value("third_0/others"),
      "). IPO, SimPO and APO-zero are displaced like DPO, APO-down by design far more (",
      value("apo_down/chosen"),
      "); what avoids it is a likelihood term: CPO and DPO + SFT raise chosen answers by ",
      value("cpo/chosen"), " and ", value("dpo + sft/chosen"), ".");
}

Findings run(const ExperimentOptions& options) {
  Numbers numbers;
  Findings found;
  for (int w = 0; w < (options.quick ? 2 : 4); ++w) {
    const DisplacementWorld world(options.quick ? 120 : 200,
                                  100 * options.seed + static_cast<uint64_t>(w));
    world.compare_methods(numbers);
    world.train_alone(numbers);
    world.train_thirds(numbers);
    world.follow_mass(options.quick ? 8 : 21, numbers);
    if (w == 0) found.charts = charts(world);
  }
  found.tables = {thirds_table(numbers), loss_table(numbers), mass_table(numbers),
                  token_table(numbers)};
  found.answer = answer_of(numbers);
  for (const auto& [name, values] : numbers) {
    found.figures["worlds"][name] = values;
    found.figures["mean"][name] = mean_of(values).value;
  }
  return found;
}

}  // namespace

Experiment displacement() {
  return {"displacement", "Likelihood displacement",
          "When does preference training make the chosen answer less likely too, where does its "
          "probability go, and what prevents it?",
          run};
}

}  // namespace luce
