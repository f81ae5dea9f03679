// What `score` and `eval` share: what scores the answers of rows.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "luce/rl/judge.h"
#include "luce/rl/scorer.h"
#include "text_rows.h"

namespace luce::cli {

/// What says how good answers are, as options of a verb.
struct ScorerArgs {
  std::string model, reference, judge;  // folders, and a judge's template
  std::vector<std::string> with;        // further members of an ensemble
  RewardScorerOptions options;
  double beta = 0.1;
  std::string dtype = "float32", device = "auto";
  int64_t max_length = 0;  // 0: the model's context
};

/// All options but the model, which verbs name in their own ways; `only_pairs` leaves out what
/// changes the scale of scores.
void add_scorer_options(CLI::App& verb, ScorerArgs& args, bool only_pairs);

/// --dtype and --device.
ModelOptions model_options(const ScorerArgs& args);

/// A reward model or an ensemble of them, a policy beside its reference, or a judge.
class RowScorer {
 public:
  explicit RowScorer(const ScorerArgs& args);

  /// The scores of each row's answers. Throws DataError that begins with `where` on a row that
  /// cannot be scored.
  std::vector<std::vector<AnswerScore>> scores(const std::vector<TextRow>& rows) const;
  /// What a pairwise judge holds of each row's first answer beside its second.
  JudgedPairs judge(const std::vector<TextRow>& rows) const;

  bool is_pairwise() const { return judge_ && judge_->questions().is_pairwise(); }
  /// Whether differences of scores are log-odds: of Bradley–Terry models, policies and judges.
  bool tells_log_odds() const { return log_odds_; }
  /// Whether scores have a deviation between members.
  bool is_ensemble() const { return members_ > 1; }

 private:
  Example tokens(const TextRow& row) const;
  std::vector<AnswerScore> judged(const std::vector<TextRow>& rows) const;

  std::unique_ptr<Scorer> scorer_;  // null: a judge
  std::shared_ptr<const Judge> judge_;
  std::shared_ptr<const Tokenizer> tokenizer_;  // null where the folder has none
  int64_t max_length_ = 0, vocabulary_ = 0, members_ = 1;
  bool log_odds_ = true, needs_steps_ = false;
  std::string limit_;  // what max_length_ is, for errors
};

/// Throws UsageError where a language model's folder was expected and a head of scores is there.
void expect_policy(const std::string& folder);

}  // namespace luce::cli
