// score: how good the answers of rows are. judge-rows: rows that train a judge.
#include <cmath>
#include <iostream>

#include "luce/base/error.h"
#include "luce/base/estimate.h"
#include "luce/base/log.h"
#include "luce/data/metrics_file.h"
#include "scoring.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct Args {
  std::string rows;
  ScorerArgs scorer;
};

std::string list_of(const std::vector<double>& values) {
  std::string out;
  for (const double value : values) out += (out.empty() ? "" : ", ") + json_number(value);
  return "[" + out + "]";
}

/// What the pairs of a file came to.
struct PairSummary {
  std::vector<double> hits, margins, order_gaps;

  void add(double margin) {
    margins.push_back(margin);
    hits.push_back(margin > 0 ? 1 : margin < 0 ? 0 : 0.5);
  }
  void print() const {
    if (margins.empty()) return;
    const auto told = [](const Estimate& e) {
      return std::isnan(e.error) ? json_number(e.value, 4)
                                 : cat(json_number(e.value, 4), " ± ", json_number(e.error, 2));
    };
    std::string line = cat(margins.size(), margins.size() == 1 ? " pair" : " pairs", ": accuracy ",
                           told(mean_of(hits)), ", mean margin ", told(mean_of(margins)));
    if (!order_gaps.empty())
      line += cat(", log-odds that the place adds ", told(mean_of(order_gaps)));
    log::info(line);
  }
};

void print_scores(const TextRow& row, const std::vector<AnswerScore>& scores, bool deviation,
                  bool dense) {
  std::vector<double> values, deviations;
  std::string all;
  for (const auto& score : scores) {
    values.push_back(score.value);
    deviations.push_back(score.deviation);
    all += (all.empty() ? "" : ", ") + list_of(score.dense);
  }
  std::cout << "{\"row\": " << row.number << ", \"scores\": " << list_of(values);
  if (deviation) std::cout << ", \"std\": " << list_of(deviations);
  if (dense) std::cout << ", \"dense\": [" << all << "]";
  std::cout << "}\n";
}

void score(const Args& args) {
  const RowScorer scorer(args.scorer);
  PairSummary pairs;
  for_text_rows(args.rows, [&](const std::vector<TextRow>& rows) {
    if (scorer.is_pairwise()) {
      const JudgedPairs judged = scorer.judge(rows);
      const auto preferences = judged.preferences();
      for (size_t i = 0; i < rows.size(); ++i) {
        std::cout << "{\"row\": " << rows[i].number
                  << ", \"preference\": " << json_number(preferences[i])
                  << ", \"order_gap\": " << json_number(judged.order_gap[i]) << "}\n";
        pairs.add(judged.log_odds[i]);
        pairs.order_gaps.push_back(judged.order_gap[i]);
      }
      return;
    }
    const auto scores = scorer.scores(rows);
    for (size_t i = 0; i < rows.size(); ++i) {
      print_scores(rows[i], scores[i], scorer.is_ensemble(), args.scorer.options.dense);
      if (rows[i].type == RowType::preference) pairs.add(scores[i][0].value - scores[i][1].value);
    }
  });
  pairs.print();
}

/// Questions with their right verdicts: of a pair in both orders, of a labelled answer once.
void judge_rows(const std::string& file, const std::string& rows) {
  const JudgeTemplate questions = JudgeTemplate::read(file);
  const auto print = [&](const TextRow& row, const std::vector<std::string>& answers, bool first) {
    std::cout << Json{{"prompt", questions.question(row.texts.prompt, answers)},
                      {"completion", questions.verdicts()[first ? 0 : 1]}}
                     .dump()
              << "\n";
  };
  for_text_rows(rows, [&](const std::vector<TextRow>& part) {
    for (const auto& row : part) {
      const auto answers = answers_of(row);
      if (row.type == RowType::preference && questions.is_pairwise()) {
        print(row, {answers[0], answers[1]}, true);
        print(row, {answers[1], answers[0]}, false);
      } else if (row.type == RowType::preference) {
        print(row, {answers[0]}, true);
        print(row, {answers[1]}, false);
      } else if (row.type == RowType::unpaired && !questions.is_pairwise()) {
        print(row, answers, row.texts.judged.role(0) == Role::chosen);
      } else {
        throw DataError(cat(row.where, ": ",
                            questions.is_pairwise()
                                ? "a pairwise template is trained on chosen and rejected answers"
                                : "a pointwise template is trained on chosen and rejected answers, "
                                  "or on answers with a label"));
      }
    }
  });
}

}  // namespace

void add_score(CLI::App& app, Context&) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("score", "Score the answers of rows");
  verb->add_option("MODEL", args->scorer.model,
                   "A folder with a head of scores; with --reference or --judge a language model")
      ->required();
  verb->add_option("ROWS", args->rows, "JSONL: rows of any type that has answers")->required();
  add_scorer_options(*verb, args->scorer, /*only_pairs=*/false);
  verb->callback([args] { score(*args); });

  auto files = std::make_shared<std::pair<std::string, std::string>>();
  verb = app.add_subcommand("judge-rows", "Make rows that train a judge, for task sft");
  verb->add_option("TEMPLATE", files->first, "The judge's template (JSON)")->required();
  verb->add_option("ROWS", files->second,
                   "JSONL: chosen and rejected; or, of a pointwise template, answers with a label")
      ->required();
  verb->callback([files] { judge_rows(files->first, files->second); });
}

}  // namespace luce::cli
