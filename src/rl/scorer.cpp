#include "luce/rl/scorer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "luce/base/error.h"
#include "rl/batches.h"

namespace luce {
namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

AnswerScore combined(const std::vector<double>& members, const EnsembleOptions& o) {
  const auto n = static_cast<double>(members.size());
  if (members.empty()) throw ArgumentError("[combined] an ensemble needs a member");
  if (members.size() == 1 && o.combine != "mean")
    throw UsageError(cat("\"", o.combine,
                         "\" compares the members of an ensemble, and there is one; give several "
                         "folders, or a model trained with head.count of 2 or more"));
  const double mean = std::accumulate(members.begin(), members.end(), 0.0) / n;
  double squares = 0;
  for (const double m : members) squares += (m - mean) * (m - mean);
  const double variance = n > 1 ? squares / (n - 1) : 0, deviation = std::sqrt(variance);
  if (o.combine == "mean") return {mean, deviation};
  if (o.combine == "min") return {*std::min_element(members.begin(), members.end()), deviation};
  if (o.combine == "lower_bound") return {mean - o.kappa * deviation, deviation};
  if (o.combine == "variance_penalty") return {mean - o.kappa * variance, deviation};
  throw UsageError(
      cat("an ensemble is combined by mean, min, lower_bound or variance_penalty; got "
          "\"",
          o.combine, "\""));
}

double reduced(const std::vector<double>& steps, const std::string& how) {
  if (steps.empty()) return NAN;
  const auto sum = [&] { return std::accumulate(steps.begin(), steps.end(), 0.0); };
  if (how == "last") return steps.back();
  if (how == "min") return *std::min_element(steps.begin(), steps.end());
  if (how == "mean") return sum() / static_cast<double>(steps.size());
  if (how == "sum") return sum();
  if (how == "product")
    return std::accumulate(steps.begin(), steps.end(), 1.0, std::multiplies<>());
  throw UsageError(
      cat("scores of steps are reduced by last, min, mean, product or sum; got \"", how, "\""));
}

RewardScorer::RewardScorer(std::vector<std::shared_ptr<const ScoreModel>> models,
                           const RewardScorerOptions& options)
    : models_(std::move(models)), options_(options) {
  if (models_.empty()) throw ArgumentError("[RewardScorer] no model is given");
  size_t members = 0;
  for (const auto& model : models_) {
    const ScoreConfig& score = model->score_config();
    const ScoreKind kind = models_.front()->score_config().kind;
    if (score.kind != kind)
      throw UsageError(cat("the members of an ensemble must be of one kind; these are ",
                           name_of(kind), " and ", name_of(score.kind), " models"));
    if (options_.normalise && !score.scores)
      throw UsageError(
          "the model's folder does not say the mean and deviation of its scores (\"luce\": "
          "{\"scores\": …} in config.json), so that they cannot be normalised");
    if (options_.normalise && kind != ScoreKind::reward && options_.reduce != "last")
      throw UsageError(
          cat("the mean and deviation that the model's folder holds are of last scores; "
              "they cannot normalise those reduced by ",
              options_.reduce));
    members += static_cast<size_t>(kind == ScoreKind::reward ? score.count : 1);
  }
  combined(std::vector<double>(members), options_.ensemble);  // throws where they do not fit
  reduced({0}, options_.reduce);
}

std::vector<AnswerScore> RewardScorer::operator()(const RowList& rows) const {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<double>> members;  // of each answer
  std::vector<AnswerScore> out;
  for (size_t m = 0; m < models_.size(); ++m) {
    const ScoreModel& model = *models_[m];
    const ScoreConfig& score = model.score_config();
    size_t answer = 0;
    const auto add = [&](double value) {
      if (options_.normalise) value = (value - score.scores->mean) / score.scores->deviation;
      if (m == 0 && answer == members.size()) members.emplace_back();
      members[answer].push_back(value);
    };
    for_batches(rows, options_.micro_batch_tokens,
                {.prefix_sharing = options_.prefix_sharing, .own_rows = true},
                [&](const Batch& made) {
                  const Batch batch = made.to(model.options().device);
                  const ScorePlaces places = score_places(batch, score.kind);
                  const Tensor hidden = model.trunk_at(places.rows, model.embed(batch.tokens),
                                                       batch.positions, batch.segments());
                  const Tensor scores = on_cpu(model.scores(hidden));
                  const double* at = scores.const_data_ptr<double>();
                  const int64_t width = scores.size(1);
                  for (size_t c = 0; c + 1 < places.offset.size(); ++c, ++answer) {
                    const int64_t begin = places.offset[c], end = places.offset[c + 1];
                    if (score.kind == ScoreKind::reward) {
                      for (int64_t k = 0; k < width; ++k) {
                        double value = at[begin * width + k];
                        if (score.targets)
                          value = score.targets->mean + score.targets->deviation * value;
                        add(value);
                      }
                      continue;
                    }
                    std::vector<double> steps;
                    for (int64_t r = begin; r < end; ++r)
                      steps.push_back(sigmoid(width == 2 ? at[2 * r + 1] - at[2 * r] : at[r]));
                    add(reduced(steps, options_.reduce));
                    if (options_.dense) {
                      if (m == 0) out.emplace_back();
                      auto& dense = out[answer].dense;
                      dense.resize(steps.size());
                      for (size_t s = 0; s < steps.size(); ++s)
                        dense[s] += steps[s] / static_cast<double>(models_.size());
                    }
                  }
                });
  }
  out.resize(members.size());
  for (size_t c = 0; c < members.size(); ++c) {
    const AnswerScore score = combined(members[c], options_.ensemble);
    out[c].value = score.value;
    out[c].deviation = score.deviation;
  }
  return out;
}

ImplicitScorer::ImplicitScorer(std::shared_ptr<const CausalLM> policy,
                               std::shared_ptr<const CausalLM> reference, double beta,
                               int64_t micro_batch_tokens)
    : policy_(std::move(policy)),
      reference_(std::move(reference)),
      beta_(beta),
      micro_batch_tokens_(micro_batch_tokens) {
  if (policy_->config().vocab_size != reference_->config().vocab_size)
    throw DataError(cat("the policy's vocabulary has ", policy_->config().vocab_size,
                        " entries, the reference's ", reference_->config().vocab_size));
}

std::vector<AnswerScore> ImplicitScorer::operator()(const RowList& rows) const {
  const at::NoGradGuard no_grad;
  std::vector<AnswerScore> out;
  for_batches(rows, micro_batch_tokens_, {}, [&](const Batch& made) {
    const Tensor u = completion_logps(*policy_, made) - completion_logps(*reference_, made);
    for (int64_t c = 0; c < u.size(0); ++c)
      out.push_back({.value = beta_ * u.const_data_ptr<double>()[c]});
  });
  return out;
}

}  // namespace luce
