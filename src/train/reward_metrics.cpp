#include "train/reward_metrics.h"

#include <ATen/ATen.h>

#include <cmath>

namespace luce {
namespace {

/// Two answers of one group of which the first was judged better.
struct JudgedPair {
  size_t better, worse;
  double preference;  // how sure that is
};

/// How an answer was judged; NaN for one that was not.
double quality(const ScoreInputs& x, size_t c) {
  const auto& score = x.columns.score;
  if (x.role[c] == Role::gold || x.role[c] == Role::mismatched) return NAN;
  if (c < score.size() && !std::isnan(score[c])) return score[c];
  return x.role[c] == Role::chosen ? 1 : x.role[c] == Role::rejected ? 0 : NAN;
}

std::vector<JudgedPair> judged_pairs(const ScoreInputs& x) {
  std::vector<JudgedPair> out;
  for (size_t q = 0; q + 1 < x.group.size(); ++q) {
    const auto first = static_cast<size_t>(x.group[q]), end = static_cast<size_t>(x.group[q + 1]);
    const double preference =
        q < x.columns.preference.size() && end - first == 2 ? x.columns.preference[q] : 1;
    for (size_t i = first; i < end; ++i)
      for (size_t j = first; j < end; ++j)
        if (quality(x, i) > quality(x, j)) out.push_back({i, j, preference});
  }
  return out;
}

/// Numbers in memory, [R, O] f64 row by row.
struct Numbers {
  Tensor owner;
  const double* at;
  int64_t columns;
  explicit Numbers(const Tensor& t)
      : owner(t.to(at::kCPU, at::kDouble).contiguous()),
        at(owner.const_data_ptr<double>()),
        columns(owner.dim() > 1 ? owner.size(1) : 1) {}
  double operator()(size_t row, int64_t column = 0) const {
    return at[static_cast<int64_t>(row) * columns + column];
  }
};

/// Log-odds of "right" at every place of an outcome or a process model, [R].
Tensor log_odds(const ScoreInputs& x, ScoreKind kind) {
  const Tensor s = x.scores.to(at::kDouble);
  return kind == ScoreKind::process ? s.select(1, 1) - s.select(1, 0) : s.select(1, 0);
}

/// How much heads vary about an answer, and how often one orders a pair against their mean.
void record_ensemble(const ScoreInputs& x, const std::vector<JudgedPair>& pairs, Metrics& metrics) {
  const Tensor last = x.last().to(at::kDouble);
  const int64_t heads = last.size(1);
  metrics.add("ensemble/std", last.std(1).sum().item<double>(), static_cast<double>(last.size(0)));
  const Numbers s(last);
  double disagree = 0;
  for (const auto& pair : pairs) {
    double mean = 0, others = 0;
    for (int64_t k = 0; k < heads; ++k) mean += s(pair.better, k) - s(pair.worse, k);
    for (int64_t k = 0; k < heads; ++k)
      others += (s(pair.better, k) - s(pair.worse, k) > 0) != (mean > 0) ? 1 : 0;
    disagree += others / static_cast<double>(heads);
  }
  metrics.add("ensemble/disagreement", disagree, static_cast<double>(pairs.size()));
}

}  // namespace

Tensor answer_scores(const ScoreInputs& x, ScoreKind kind) {
  const Tensor last = x.last().to(at::kCPU, at::kDouble);
  if (kind == ScoreKind::reward) return last.mean(1);
  if (kind == ScoreKind::outcome) return last.select(1, 0);
  return last.select(1, 1) - last.select(1, 0);
}

Tensor told_scores(const ScoreInputs& x, const ScoreConfig& score) {
  const Tensor scores = answer_scores(x, score.kind);
  if (score.kind != ScoreKind::reward) return scores.sigmoid();
  return score.targets ? score.targets->mean + score.targets->deviation * scores : scores;
}

void record_scores(const ScoreInputs& x, ScoreKind kind, Metrics& metrics) {
  const Tensor scores = answer_scores(x, kind);
  metrics.add("mean_reward", scores.sum().item<double>(), static_cast<double>(scores.numel()));
  if (kind != ScoreKind::reward) {
    const Predictions made = predictions_of(x, kind);
    for (size_t i = 0; i < made.outcome.size(); ++i)
      metrics.add("accuracy", (made.probability[i] > 0.5) == (made.outcome[i] > 0.5) ? 1 : 0, 1);
    return;
  }
  const Numbers s(scores);
  const auto pairs = judged_pairs(x);
  for (const auto& pair : pairs) {
    const double margin = s(pair.better) - s(pair.worse);
    metrics.add("margin", margin, 1);
    metrics.add("accuracy", margin > 0 ? 1 : 0, 1);  // a tie counts as wrong
  }
  if (x.scores.size(1) > 1) record_ensemble(x, pairs, metrics);
}

void record_extremes(const Tensor& scores, Metrics& metrics) {
  metrics.set("min_reward", scores.min().item<double>());
  metrics.set("max_reward", scores.max().item<double>());
}

Predictions predictions_of(const ScoreInputs& x, ScoreKind kind) {
  Predictions out;
  const auto add = [&](double logit, double outcome) {
    out.probability.push_back(1 / (1 + std::exp(-logit)));
    out.outcome.push_back(outcome);
  };
  if (kind == ScoreKind::reward) {
    const Numbers s(answer_scores(x, kind));
    for (const auto& pair : judged_pairs(x)) add(s(pair.better) - s(pair.worse), pair.preference);
    return out;
  }
  const Numbers odds(log_odds(x, kind));
  if (kind == ScoreKind::outcome) {
    for (size_t c = 0; c < x.role.size(); ++c)
      add(odds(static_cast<size_t>(x.offset[c + 1] - 1)), x.role[c] == Role::chosen ? 1 : 0);
    return out;
  }
  size_t place = 0;
  for (const auto& steps : x.columns.steps)
    for (const auto& step : steps) add(odds(place++), step.right ? 1 : 0);
  return out;
}

}  // namespace luce
