// Rewards that models in this process give: reward models, and a language model as a judge.
#pragma once

#include <memory>
#include <string>

#include "luce/base/schema.h"
#include "luce/rl/judge.h"
#include "luce/rl/reward_function.h"
#include "luce/rl/reward_registry.h"
#include "luce/rl/scorer.h"

namespace luce {

/// model: the score of a reward or outcome model, or of an ensemble of them. Where its tokenizer is
/// the policy's, or its folder has none, completions are scored as they were sampled, token by
/// token; else their texts are tokenized anew, with an end of sequence unless they were cut off. A
/// completion that does not fit into the model's context fails.
class ModelReward : public RewardFunction {
 public:
  struct Options {
    Json path = nullptr;  // a folder, or a list of folders: an ensemble
    RewardScorerOptions scorer;
  };
  static RewardInfo info();
  /// Throws UsageError on models that cannot be asked so, and what reading them throws.
  ModelReward(const Options& options, const RewardContext& context);
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override;

 private:
  Example row_of(const RewardInput& input) const;

  std::unique_ptr<RewardScorer> scorer_;
  std::shared_ptr<const Tokenizer> tokenizer_;  // null: the policy's tokens are the model's
  int64_t context_ = 0, vocabulary_ = 0;
};

/// judge: the log-odds that a language model gives to the first verdict of a pointwise template.
class JudgeReward : public RewardFunction {
 public:
  struct Options {
    std::string path, questions;  // the model's folder and the template's file
  };
  static RewardInfo info();
  /// Throws UsageError on a pairwise template and what Judge refuses, and what reading throws.
  JudgeReward(const Options& options, const RewardContext& context);
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override;

 private:
  std::unique_ptr<Judge> judge_;
};

void describe(Schema& s, ModelReward::Options& o);
void describe(Schema& s, JudgeReward::Options& o);

}  // namespace luce
