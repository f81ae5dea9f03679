#include "loss/check_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/random.h"
#include "luce/data/judgements.h"

namespace luce::checks {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kVocabulary = 29;

/// Random numbers of one row, one after the other.
class Dice {
 public:
  Dice(uint64_t seed, uint64_t step, int64_t row)
      : random_(seed, Purpose::test), step_(step), row_(static_cast<uint64_t>(row)) {}
  double uniform() { return random_.uniform(step_, row_, position_++); }
  int64_t below(int64_t n) { return static_cast<int64_t>(uniform() * static_cast<double>(n)); }
  std::vector<int64_t> tokens(int64_t count) {
    std::vector<int64_t> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(below(kVocabulary));
    return out;
  }

 private:
  Random random_;
  uint64_t step_, row_;
  uint32_t position_ = 0;
};

/// The roles of a row's judged answers.
std::vector<Role> roles_of(Rows kind, int64_t row) {
  const std::vector<Role> pair{Role::chosen, Role::rejected};
  switch (kind) {
    case Rows::any:  // pairs and demonstrations
      return row % 2 == 0 ? pair : std::vector<Role>{Role::chosen};
    case Rows::pairs:
      return pair;
    case Rows::labelled:
      if (row % 3 == 0) return pair;
      return {row % 3 == 1 ? Role::chosen : Role::rejected};
    case Rows::stepwise:
      return {row % 2 == 0 ? Role::chosen : Role::rejected};
    case Rows::ranked:
    case Rows::scored:
      return std::vector<Role>(static_cast<size_t>(2 + row % 3), Role::ranked);
  }
  throw ArgumentError("[check_loss] unknown kind of rows");
}

Example made_example(const SequenceLoss& loss, uint64_t index, int64_t row, Dice& dice) {
  const Needs needs = loss.needs();
  const Rows kind = loss.rows();
  Example out{.prompt = dice.tokens(3), .completions = {}, .row = row + 1};
  out.roles = roles_of(kind, row);
  const size_t judged = out.roles.size();
  for (size_t k = 0; k < judged; ++k) {
    if (kind == Rows::ranked)
      out.scores.push_back(-static_cast<double>((static_cast<int64_t>(k) + row) % 4));
    else
      out.scores.push_back(kind == Rows::scored ? 4 * dice.uniform() - 2 : NAN);
  }
  if (needs.gold && row % 3 != 2) out.roles.push_back(Role::gold);
  if (needs.mismatched) out.roles.insert(out.roles.end(), judged, Role::mismatched);
  out.scores.resize(out.roles.size(), NAN);
  while (out.completions.size() < out.roles.size())
    out.completions.push_back(dice.tokens(1 + dice.below(6)));
  if (kind == Rows::stepwise)  // a right step of one token, and the rest
    for (const auto end : {size_t{1}, out.completions[0].size()})
      out.steps.push_back({static_cast<int64_t>(end), end == 1 || row % 2 == 0});
  if (index % 2 == 1 && row % 2 == 0) out.margin = dice.uniform();
  // Losses that compare the pairs of a step refuse preferences.
  if (index >= 2 && kind == Rows::pairs && needs.couples != Coupling::step && row % 3 != 0)
    out.preference = 0.5 + dice.uniform() / 2;
  out.rater = row % 3;
  return out;
}

/// One answer of a row, or one token of it.
MadeRow part_of(const MadeRow& row, size_t k, size_t begin, size_t end) {
  const auto at = [](auto& list, size_t i) { return list.begin() + static_cast<int64_t>(i); };
  MadeRow out = row;
  const auto& tokens = row.example.completions[k];
  out.example.completions = {{at(tokens, begin), at(tokens, end)}};
  out.example.roles = {row.example.role(k)};
  out.example.scores = {row.example.scores[k]};
  out.answers = {{at(row.answers[k], begin), at(row.answers[k], end)}};
  return out;
}

}  // namespace

MadeRow made_row(const SequenceLoss& loss, const Example& example, uint64_t seed, uint64_t index) {
  Dice dice(seed, 2 * index + 1, example.row);
  const bool named = loss.needs().candidates;
  const auto logp = [&] { return -0.05 - 2 * dice.uniform(); };
  MadeRow row{.example = example, .answers = {}};
  for (size_t k = 0; k < example.completions.size(); ++k) {
    const size_t count = example.completions[k].size();
    std::vector<std::vector<int64_t>> tokens(count);
    if (named && example.role(k) != Role::mismatched) loss.candidates(example, k, tokens);
    if (tokens.size() != count)
      throw ArgumentError(cat("candidates() must keep one list for each of the ", count,
                              " tokens of a completion; it left ", tokens.size()));
    std::vector<MadeToken> answer(count);
    for (size_t t = 0; t < count; ++t) {
      answer[t] = {.logp = logp(), .ref_logp = logp(), .log_sum_p2 = logp(), .candidates = {}};
      for (size_t i = 0; i < tokens[t].size(); ++i) answer[t].candidates.push_back(logp());
    }
    row.answers.push_back(std::move(answer));
  }
  return row;
}

MadeStep made_step(const SequenceLoss& loss, uint64_t seed, uint64_t index) {
  MadeStep step;
  for (int64_t row = 0; row < kRows; ++row) {
    Dice dice(seed, 2 * index, row);
    step.push_back(made_row(loss, made_example(loss, index, row, dice), seed, index));
  }
  return step;
}

MadeStep made_pair(const SequenceLoss& loss, double margin) {
  Dice dice(1, 0, 0);
  Example example = made_example(loss, 0, 0, dice);
  const bool ranked = example.role(0) == Role::ranked;
  example.roles = {ranked ? Role::ranked : Role::chosen, ranked ? Role::ranked : Role::rejected};
  example.scores = {ranked ? 1 : NAN, ranked ? 0 : NAN};
  if (loss.needs().mismatched) {  // with a log-ratio of 0
    example.roles.resize(4, Role::mismatched);
    example.scores.resize(4, NAN);
  }
  example.completions.assign(example.roles.size(), dice.tokens(4));
  MadeRow row = made_row(loss, example, 1, 0);
  for (size_t k = 0; k < row.answers.size(); ++k)
    for (auto& token : row.answers[k]) {
      token.ref_logp = -1;
      token.logp = k < 2 ? -1 + (k == 0 ? 1 : -1) * margin / 8 : -1;
    }
  return {row};
}

GroupInputs inputs_of(const MadeStep& step, const Needs& needs, at::ScalarType dtype) {
  GroupInputs x;
  x.logps.offset = x.group = {0};
  std::vector<int64_t> candidate_offset{0};
  std::vector<double> logps, ref_logps, log_sum_p2, candidates;
  for (const auto& [example, answers] : step) {
    for (size_t k = 0; k < answers.size(); ++k) {
      for (const MadeToken& token : answers[k]) {
        logps.push_back(token.logp);
        ref_logps.push_back(token.ref_logp);
        log_sum_p2.push_back(token.log_sum_p2);
        candidates.insert(candidates.end(), token.candidates.begin(), token.candidates.end());
        candidate_offset.push_back(static_cast<int64_t>(candidates.size()));
      }
      x.logps.offset.push_back(static_cast<int64_t>(logps.size()));
      x.role.push_back(example.role(k));
      x.columns.score.push_back(example.scores[k]);
      x.columns.steps.emplace_back();
    }
    x.group.push_back(static_cast<int64_t>(x.role.size()));
    x.columns.margin.push_back(example.margin);
    x.columns.preference.push_back(example.preference);
    x.columns.rater.push_back(example.rater);
  }
  const auto tensor = [&](const std::vector<double>& values) { return at::tensor(values, dtype); };
  x.logps.values = tensor(logps);
  if (needs.reference) x.ref_logps = {tensor(ref_logps), x.logps.offset};
  if (needs.log_sum_p2) x.log_sum_p2 = {tensor(log_sum_p2), x.logps.offset};
  if (needs.candidates) x.candidates = {tensor(candidates), candidate_offset};
  return x;
}

Totals totals_of(const MadeStep& step) {
  std::vector<const Example*> rows;
  for (const MadeRow& row : step) rows.push_back(&row.example);
  return totals_of(rows);
}

std::vector<MadeStep> cut(const MadeStep& step, Coupling level) {
  std::vector<MadeStep> parts;
  for (const MadeRow& row : step) {
    if (level == Coupling::group) {
      parts.push_back({row});
      continue;
    }
    for (size_t k = 0; k < row.answers.size(); ++k) {
      const size_t count = row.answers[k].size();
      if (level == Coupling::sequence) parts.push_back({part_of(row, k, 0, count)});
      for (size_t t = 0; level == Coupling::token && t < count; ++t)
        parts.push_back({part_of(row, k, t, t + 1)});
    }
  }
  return parts;
}

std::vector<Place> places_of(MadeStep& step) {
  std::vector<Place> out;
  for (MadeRow& row : step)
    for (size_t k = 0; k < row.answers.size(); ++k) {
      const Role role = row.example.role(k);
      if (role == Role::mismatched) continue;
      for (size_t t = 0; t < row.answers[k].size(); ++t) {
        MadeToken& token = row.answers[k][t];
        const std::string name =
            cat("token ", t, " of the ", name_of(role), " answer of row ", row.example.row);
        out.push_back({&token.logp, name});
        for (double& logp : token.candidates) out.push_back({&logp, "a candidate at " + name});
      }
    }
  return out;
}

}  // namespace luce::checks
