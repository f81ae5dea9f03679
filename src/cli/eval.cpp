// eval: measurements of models, each a part of its own. Here those of scores and tables.
#include "eval.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <numeric>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/calibration.h"
#include "luce/data/comparisons.h"
#include "luce/data/metrics_file.h"
#include "scoring.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct PairArgs {
  ScorerArgs scorer;
  std::string rows, out;
};

/// What a model says of pairs: log-odds, or differences of scores, of chosen over rejected.
struct PairValues {
  std::vector<double> margins, order_gaps;
};

PairValues pair_values(const RowScorer& scorer, const std::string& file) {
  PairValues out;
  for_text_rows(file, [&](const std::vector<TextRow>& rows) {
    for (const auto& row : rows)
      if (row.type != RowType::preference)
        throw DataError(cat(row.where, ": expected a pair, \"chosen\" and \"rejected\"; this is a ",
                            name_of(row.type), " row"));
    if (scorer.is_pairwise()) {
      const JudgedPairs judged = scorer.judge(rows);
      out.margins.insert(out.margins.end(), judged.log_odds.begin(), judged.log_odds.end());
      out.order_gaps.insert(out.order_gaps.end(), judged.order_gap.begin(), judged.order_gap.end());
      return;
    }
    for (const auto& scores : scorer.scores(rows))
      out.margins.push_back(scores[0].value - scores[1].value);
  });
  return out;
}

Json calibration_json(const Calibration& c) {
  Json bins = Json::array();
  for (const auto& bin : c.equal_mass)
    bins.push_back({{"low", number(bin.low)},
                    {"high", number(bin.high)},
                    {"count", bin.count},
                    {"predicted", number(bin.predicted)},
                    {"observed", number(bin.observed.value)},
                    {"error", number(bin.observed.error)}});
  return {{"brier", number(c.brier)},
          {"log_loss", number(c.log_loss)},
          {"ece", number(c.ece_equal_mass)},
          {"ece_equal_width", number(c.ece_equal_width)},
          {"bins", bins}};
}

void eval_pairs(const PairArgs& args) {
  const RowScorer scorer(args.scorer);
  const PairValues values = pair_values(scorer, args.rows);
  std::vector<double> hits, chances;
  for (const double margin : values.margins) {
    hits.push_back(margin > 0 ? 1 : margin < 0 ? 0 : 0.5);
    chances.push_back(1 / (1 + std::exp(-margin)));
  }
  const Estimate accuracy = mean_of(hits), margin = mean_of(values.margins);
  Finding found;
  found.json = {{"model", args.scorer.model},
                {"rows", args.rows},
                {"accuracy", estimate(accuracy)},
                {"margin", estimate(margin)}};
  Report& report = found.report;
  report.title = "Pairs";
  report.facts = {{"model", args.scorer.model}, {"rows", args.rows}};
  report.tiles = {{"accuracy", told(accuracy), cat(accuracy.count, " pairs, ± standard error")},
                  {"mean margin", told(margin), "score of the chosen less the rejected answer"}};
  if (!values.order_gaps.empty()) {
    const Estimate gap = mean_of(values.order_gaps);
    found.json["order_gap"] = estimate(gap);
    report.tiles.push_back(
        {"order gap", told(gap), "log-odds that an answer gains by standing first"});
  }
  if (scorer.tells_log_odds()) {
    const Calibration c = preference_calibration(chances);
    found.json["calibration"] = calibration_json(c);
    report.chart(reliability_chart(c));
    report.table(reliability_table(c));
  } else {
    report.paragraph("Differences of these scores are no log-odds, so there is no calibration.");
  }
  report.histogram({.title = "Margins", .samples = {{"margin", values.margins}}});
  deliver(found, args.out);
}

void eval_strengths(const std::string& table, double prior, const std::string& out) {
  const auto fit = fit_strengths(read_comparisons(table), {.prior = prior});
  std::vector<size_t> order(fit.names.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return fit.strengths[a] > fit.strengths[b]; });
  Finding found;
  Json strengths = Json::array();
  Table rows{.title = "Strengths",
             .columns = {"name", "strength", "standard error", "Elo points", "standard error"},
             .rows = {},
             .note = "P(i beats j) = σ(θ_i − θ_j), maximum likelihood; their mean is 0."};
  for (const size_t i : order) {
    const double strength = fit.strengths[i], error = fit.errors[i];
    strengths.push_back({{"name", fit.names[i]},
                         {"strength", number(strength)},
                         {"error", number(error)},
                         {"elo", number(elo(strength))},
                         {"elo_error", number(elo(error))}});
    rows.rows.push_back({fit.names[i], format_number(strength), format_number(error, 2),
                         format_number(elo(strength)), format_number(elo(error), 2)});
  }
  found.json = {{"table", table},
                {"prior", number(prior)},
                {"log_likelihood", number(fit.log_likelihood)},
                {"strengths", strengths}};
  found.report.title = "Bradley–Terry strengths";
  found.report.facts = {{"table", table}, {"prior", format_number(prior)}};
  found.report.table(rows);
  deliver(found, out);
}

}  // namespace

void add_out_option(CLI::App& verb, std::string& out) {
  verb.add_option("--out", out, "A folder for eval.json and a page, report.html");
}

void deliver(const Finding& finding, const std::string& out) {
  const std::string text = finding.json.dump(1);
  std::cout << text << "\n";
  if (out.empty()) return;
  make_folder(out);
  const std::filesystem::path folder = out;
  write_file_atomic(folder / "eval.json", text + "\n");
  write_file_atomic(folder / "report.html", finding.report.html());
}

Json number(double value) { return Json::parse(json_number(value)); }

Json numbers(const std::vector<double>& values) {
  Json out = Json::array();
  for (const double value : values) out.push_back(number(value));
  return out;
}

Json estimate(const Estimate& e) {
  return {{"value", number(e.value)}, {"error", number(e.error)}, {"count", e.count}};
}

std::string told(const Estimate& e) {
  if (std::isnan(e.error)) return format_number(e.value);
  return cat(format_number(e.value), " ± ", format_number(e.error, 2));
}

void add_eval_pairs(CLI::App& eval) {
  auto args = std::make_shared<PairArgs>();
  CLI::App* verb = eval.add_subcommand("pairs", "How often a model prefers the chosen answer");
  verb->add_option("MODEL", args->scorer.model,
                   "A folder with a head of scores; with --reference or --judge a language model")
      ->required();
  verb->add_option("ROWS", args->rows, "JSONL: chosen and rejected")->required();
  add_scorer_options(*verb, args->scorer, /*only_pairs=*/true);
  add_out_option(*verb, args->out);
  verb->callback([args] { eval_pairs(*args); });
}

void add_eval_strengths(CLI::App& eval) {
  struct Args {
    std::string table, out;
    double prior = 0;
  };
  auto args = std::make_shared<Args>();
  CLI::App* verb = eval.add_subcommand("strengths", "Bradley-Terry strengths of who beat whom");
  verb->add_option("TABLE", args->table,
                   "JSONL: {\"first\", \"second\", \"winner\": \"first\", \"second\" or \"tie\"}")
      ->required();
  verb->add_option("--prior", args->prior,
                   "Wins that each name is given against each other one: shrinks strengths")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_out_option(*verb, args->out);
  verb->callback([args] { eval_strengths(args->table, args->prior, args->out); });
}

void add_eval(CLI::App& app, Context&) {
  CLI::App* eval = app.add_subcommand("eval", "Measure models: pairs, best of n, win rates, KL");
  add_eval_pairs(*eval);
  add_eval_best_of_n(*eval);
  add_eval_win_rate(*eval);
  add_eval_strengths(*eval);
  add_eval_kl(*eval);
  eval->callback([eval] {
    if (eval->get_subcommands().empty())
      throw UsageError(
          "luce eval needs what to measure: pairs, best-of-n, win-rate, strengths or "
          "kl");
  });
}

}  // namespace luce::cli
