#include "luce/data/judgements.h"

#include <cmath>
#include <utility>

#include "luce/base/error.h"

namespace luce {
namespace {

/// A rating r says which answer of a pair is better, and how clearly:
///
///   |r|   margin   wide_margin   label (probability that it is the better one)
///    2      1           3         .95
///    1      ⅓           1         .75
///    0      0           0         .5
///
/// The margins are those of Llama 2 (arXiv 2307.09288) for "significantly" and "slightly" better.
void apply_rating(const Columns& row, const DatasetOptions& options, RowTexts& texts) {
  if (!row.has("rating")) return;
  texts.rated = options.ratings == "ignore";
  if (texts.rated) return;
  const bool labels = options.ratings == "label";
  if (!labels && row.has("margin"))
    throw DataError(cat(row.quoted("margin"), " and ", row.quoted("rating"),
                        " are both there, expected one of them where data.ratings is \"",
                        options.ratings, "\", which makes a margin of the rating"));
  const double rating = row.number("rating"), grade = std::abs(rating);
  if (grade != 0 && grade != 1 && grade != 2)
    throw DataError(cat(row.quoted("rating"), " is ", row.find("rating")->dump(),
                        ", expected a whole number from -2 to 2"));

  Example& judged = texts.judged;
  if (rating == 0) {
    texts.tied = true;
    judged.preference = 0.5;
    judged.margin = 0;
    return;
  }
  if (rating < 0) {
    texts.swapped = true;
    std::swap(texts.completions[0], texts.completions[1]);
    judged.margin = -judged.margin;  // a margin of the row's own speaks of its columns
  }
  if (labels)
    judged.preference = grade == 2 ? 0.95 : 0.75;
  else if (options.ratings == "wide_margin")
    judged.margin = grade == 2 ? 3 : 1;
  else
    judged.margin = grade == 2 ? 1 : 1.0 / 3;
}

void judge_pair(const Columns& row, const DatasetOptions& options, RowTexts& texts) {
  if (texts.completions.size() == 3)
    texts.judged.roles = {Role::chosen, Role::rejected, Role::gold};
  if (row.has("margin")) texts.judged.margin = row.number("margin");
  if (row.has("rater")) texts.rater = row.name("rater");
  apply_rating(row, options, texts);
}

void check_length(const Columns& row, const RowTexts& texts, size_t least) {
  if (texts.completions.size() < least)
    throw DataError(cat(row.quoted("completions"), " has length ", texts.completions.size(),
                        ", expected ", least, " or more"));
}

void check_same_length(const Columns& row, const char* column, size_t length,
                       const RowTexts& texts) {
  if (length != texts.completions.size())
    throw DataError(cat(row.quoted(column), " has length ", length, ", expected that of ",
                        row.quoted("completions"), ", ", texts.completions.size()));
}

void judge_ranked(const Columns& row, RowTexts& texts) {
  check_length(row, texts, 2);
  const bool ranks = row.has("ranks");
  if (ranks == row.has("scores"))
    throw DataError(cat(row.quoted("ranks"), " and ", row.quoted("scores"), " are both ",
                        ranks ? "there" : "missing", ", expected one of them"));
  const char* column = ranks ? "ranks" : "scores";
  auto& scores = texts.judged.scores;
  scores = row.numbers(column);
  check_same_length(row, column, scores.size(), texts);
  if (ranks)
    for (double& score : scores) score = -score;
  texts.judged.roles.assign(scores.size(), Role::ranked);
}

Role role_of(bool is_good) { return is_good ? Role::chosen : Role::rejected; }

void judge_steps(const Columns& row, RowTexts& texts) {
  check_length(row, texts, 1);
  const std::vector<bool> labels = row.flags("labels");
  check_same_length(row, "labels", labels.size(), texts);
  bool all_right = true;
  for (const bool right : labels) {
    texts.judged.steps.push_back({.right = right});
    all_right = all_right && right;
  }
  texts.judged.roles = {role_of(row.has("label") ? row.flag("label") : all_right)};
}

}  // namespace

void read_judgements(const Columns& row, RowType type, const DatasetOptions& options,
                     RowTexts& texts) {
  switch (type) {
    case RowType::preference:
      judge_pair(row, options, texts);
      break;
    case RowType::unpaired:
      texts.judged.roles = {role_of(row.flag("label"))};
      break;
    case RowType::scored:
      texts.judged.roles = {Role::ranked};
      texts.judged.scores = {row.number("score")};
      break;
    case RowType::ranked:
      judge_ranked(row, texts);
      break;
    case RowType::stepwise:
      judge_steps(row, texts);
      break;
    case RowType::text:
    case RowType::prompt_completion:
    case RowType::input_ids:
      break;
  }
}

std::string name_of(Role role) {
  switch (role) {
    case Role::chosen:
      return "chosen";
    case Role::rejected:
      return "rejected";
    case Role::ranked:
      return "ranked";
    case Role::gold:
      return "gold";
    case Role::mismatched:
      break;
  }
  return "mismatched";
}

}  // namespace luce
