// eval best-of-n and win-rate: what scorers say of answers that policies give.
#include <algorithm>

#include "answers.h"
#include "eval.h"
#include "luce/base/error.h"
#include "luce/data/comparisons.h"
#include "luce/data/tokenizer.h"
#include "scoring.h"

namespace luce::cli {
namespace {

struct Args {
  std::string policy, other, prompts, gold, out;
  AnswerOptions options;
  ScorerArgs scorer;
};

/// The answers of one policy, which is loaded for them alone.
std::vector<TextRow> answered(const std::string& policy, const std::vector<PromptRow>& prompts,
                              const AnswerOptions& options, const ModelOptions& model_options) {
  expect_policy(policy);
  const auto model = CausalLM::load(policy, model_options);
  return answers_to(prompts, *model, *Tokenizer::load(policy), options).rows;
}

std::vector<std::vector<double>> values_of(const RowScorer& scorer,
                                           const std::vector<TextRow>& rows) {
  std::vector<std::vector<double>> out;
  for (const auto& scores : scorer.scores(rows)) {
    out.emplace_back();
    for (const auto& score : scores) out.back().push_back(score.value);
  }
  return out;
}

void expect_scores(const RowScorer& scorer) {
  if (scorer.is_pairwise())
    throw UsageError(
        "best-of-n needs a score of each answer; a pairwise template gives none. Ask about one "
        "answer, with {answer}");
}

void eval_best_of_n(const Args& args) {
  const RowScorer scorer(args.scorer);
  expect_scores(scorer);
  ScorerArgs judge = {.model = args.gold, .dtype = args.scorer.dtype, .device = args.scorer.device};
  judge.options.micro_batch_tokens = args.scorer.options.micro_batch_tokens;
  std::unique_ptr<RowScorer> gold;
  if (!args.gold.empty()) gold = std::make_unique<RowScorer>(judge);
  const auto rows =
      answered(args.policy, read_prompts(args.prompts), args.options, model_options(args.scorer));
  const BestOfN best = best_of_n(
      values_of(scorer, rows), gold ? values_of(*gold, rows) : std::vector<std::vector<double>>());
  Finding found;
  Json curve = Json::array();
  Table table{.title = "Best of n",
              .columns = {"n", "KL bound", "reward", "standard error"},
              .rows = {},
              .note = "Means over prompts of the score of the answer that the reward picks."};
  if (gold) table.columns.insert(table.columns.end(), {"gold", "standard error"});
  LineChart chart{.title = "Best of n"};
  chart.x_label = "KL bound, nats";
  chart.smooth = false;
  chart.series = {{.name = "reward", .x = best.kl, .y = {}, .sparse = true}};
  if (gold)
    chart.series.push_back({.name = "gold", .x = best.kl, .y = {}, .color = 1, .sparse = true});
  for (size_t i = 0; i < best.kl.size(); ++i) {
    Json entry = {{"n", i + 1}, {"kl", number(best.kl[i])}, {"reward", estimate(best.proxy[i])}};
    std::vector<std::string> cells = {std::to_string(i + 1), format_number(best.kl[i]),
                                      format_number(best.proxy[i].value),
                                      format_number(best.proxy[i].error, 2)};
    chart.series[0].y.push_back(best.proxy[i].value);
    if (gold) {
      entry["gold"] = estimate(best.gold[i]);
      cells.push_back(format_number(best.gold[i].value));
      cells.push_back(format_number(best.gold[i].error, 2));
      chart.series[1].y.push_back(best.gold[i].value);
    }
    curve.push_back(entry);
    table.rows.push_back(cells);
  }
  found.json = {{"policy", args.policy},
                {"prompts", rows.size()},
                {"samples", args.options.count},
                {"curve", curve}};
  found.report.title = "Best of n";
  found.report.facts = {{"policy", args.policy},
                        {"reward", args.scorer.model},
                        {"prompts", std::to_string(rows.size())}};
  found.report.chart(chart);
  found.report.table(table);
  deliver(found, args.out);
}

/// How often each answer of `a` is held better than each of `b`: 1, ½ or 0.
double result(double difference) { return difference > 0 ? 1 : difference < 0 ? 0 : 0.5; }

std::vector<std::vector<double>> results_by_scores(const RowScorer& scorer,
                                                   const std::vector<TextRow>& a,
                                                   const std::vector<TextRow>& b) {
  const auto first = values_of(scorer, a), second = values_of(scorer, b);
  std::vector<std::vector<double>> out(a.size());
  for (size_t q = 0; q < a.size(); ++q)
    for (const double x : first[q])
      for (const double y : second[q]) out[q].push_back(result(x - y));
  return out;
}

std::vector<std::vector<double>> results_by_judge(const RowScorer& scorer,
                                                  const std::vector<TextRow>& a,
                                                  const std::vector<TextRow>& b,
                                                  std::vector<double>& order_gaps) {
  std::vector<std::vector<double>> out(a.size());
  for (size_t q = 0; q < a.size(); ++q) {
    std::vector<TextRow> pairs;
    for (const auto& x : a[q].texts.completions)
      for (const auto& y : b[q].texts.completions) {
        TextRow row{.where = a[q].where, .type = RowType::preference, .texts = {}};
        row.texts.prompt = a[q].texts.prompt;
        row.texts.completions = {x, y};
        pairs.push_back(std::move(row));
      }
    const JudgedPairs judged = scorer.judge(pairs);
    for (const double odds : judged.log_odds) out[q].push_back(result(odds));
    order_gaps.push_back(mean_of(judged.order_gap).value);
  }
  return out;
}

void eval_win_rate(const Args& args) {
  const RowScorer scorer(args.scorer);
  const auto prompts = read_prompts(args.prompts);
  const ModelOptions options = model_options(args.scorer);
  const auto a = answered(args.policy, prompts, args.options, options);
  AnswerOptions others = args.options;
  others.other_numbers = true;  // so that a policy can be held against itself
  const auto b = answered(args.other, prompts, others, options);
  std::vector<double> order_gaps;
  const auto results = scorer.is_pairwise() ? results_by_judge(scorer, a, b, order_gaps)
                                            : results_by_scores(scorer, a, b);
  const WinRate won = win_rate(results);
  Finding found;
  found.json = {{"first", args.policy},
                {"second", args.other},
                {"win_rate", estimate(won.rate)},
                {"interval", numbers({won.interval.low, won.interval.high})},
                {"samples", args.options.count}};
  found.report.title = "Win rate";
  found.report.facts = {{"first", args.policy}, {"second", args.other}, {"by", args.scorer.model}};
  found.report.tiles = {
      {"win rate", told(won.rate), cat("of the first policy, over ", won.rate.count, " prompts")},
      {"95 %", cat(format_number(won.interval.low), " – ", format_number(won.interval.high)),
       "Wilson's interval"}};
  if (!order_gaps.empty()) {
    const Estimate gap = mean_of(order_gaps);
    found.json["order_gap"] = estimate(gap);
    found.report.tiles.push_back(
        {"order gap", told(gap), "log-odds that an answer gains by standing first"});
  }
  SampleTable texts{.title = "Answers", .columns = {"first", "second"}, .rows = {}};
  for (size_t q = 0; q < std::min<size_t>(a.size(), 20); ++q)
    texts.rows.push_back(
        {a[q].texts.prompt, {{a[q].texts.completions[0], ""}, {b[q].texts.completions[0], ""}}});
  found.report.samples(texts);
  deliver(found, args.out);
}

}  // namespace

void add_eval_best_of_n(CLI::App& eval) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = eval.add_subcommand("best-of-n", "Scores of the best of n sampled answers");
  verb->add_option("POLICY", args->policy, "A Hugging Face model folder")->required();
  verb->add_option("PROMPTS", args->prompts, "JSONL: {\"prompt\": …}")->required();
  verb->add_option("--reward", args->scorer.model,
                   "What picks the best: a reward model, or with --judge a language model")
      ->required();
  verb->add_option("--gold", args->gold, "A reward model that scores what was picked");
  args->options.count = 16;
  add_answer_options(*verb, args->options);
  add_out_option(*verb, args->out);
  add_temperature_options(*verb, args->options);
  add_scorer_options(*verb, args->scorer, /*only_pairs=*/true);
  verb->callback([args] { eval_best_of_n(*args); });
}

void add_eval_win_rate(CLI::App& eval) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = eval.add_subcommand("win-rate", "How often one policy's answers beat another's");
  verb->add_option("POLICY_A", args->policy, "A Hugging Face model folder")->required();
  verb->add_option("POLICY_B", args->other, "Another one")->required();
  verb->add_option("PROMPTS", args->prompts, "JSONL: {\"prompt\": …}")->required();
  verb->add_option("--reward", args->scorer.model,
                   "What compares: a reward model, or with --judge a language model")
      ->required();
  add_answer_options(*verb, args->options);
  add_out_option(*verb, args->out);
  add_temperature_options(*verb, args->options);
  add_scorer_options(*verb, args->scorer, /*only_pairs=*/true);
  verb->callback([args] { eval_win_rate(*args); });
}

}  // namespace luce::cli
