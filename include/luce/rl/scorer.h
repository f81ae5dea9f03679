// Whatever tells how good answers are: reward models and ensembles of them, a policy beside its
// reference, a language model as a judge.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "luce/data/dataset.h"
#include "luce/model/causal_lm.h"
#include "luce/model/score_model.h"

namespace luce {

struct AnswerScore {
  double value = 0;                // NaN: there is none
  double deviation = 0;            // between the members of an ensemble, unbiased; 0 for one member
  std::vector<double> dense = {};  // a probability a step or token, where scores were kept dense
};

class Scorer {
 public:
  virtual ~Scorer() = default;
  /// One score for each completion of each row, in order. Rows are in the scorer's own tokens.
  virtual std::vector<AnswerScore> operator()(const std::vector<const Example*>& rows) const = 0;
};

/// How the members of an ensemble become one score (Coste et al., arXiv:2310.02743):
///   mean · min · lower_bound: mean − κ·std · variance_penalty: mean − κ·var
struct EnsembleOptions {
  std::string combine = "mean";
  double kappa = 1;
};

/// The score and the deviation of K members, K ≥ 1; std and var are unbiased. Throws UsageError
/// where one member is asked for more than its own score.
AnswerScore combined(const std::vector<double>& members, const EnsembleOptions& options);

/// How the probabilities of steps (or, of an outcome model, tokens) become one score of an answer:
/// last, min, mean, product or sum.
double reduced(const std::vector<double>& steps, const std::string& how);

struct RewardScorerOptions {
  EnsembleOptions ensemble;
  std::string reduce = "last";  // of outcome and process models
  bool dense = false;           // keep the probabilities of steps and tokens
  bool normalise = false;       // (r − mean) / std of the model's scores, as saved with it
  int64_t micro_batch_tokens = 16384;
  bool prefix_sharing = true;
};

/// Reward, outcome or process models: heads of one folder, or of several, are the members of an
/// ensemble. A reward model trained by regression gives scores on the scale of its data. A process
/// model needs rows with steps.
class RewardScorer : public Scorer {
 public:
  /// Throws UsageError where the models are of different kinds, have no moments to normalise by,
  /// or are one member of which an ensemble's score is asked.
  RewardScorer(std::vector<std::shared_ptr<const ScoreModel>> models,
               const RewardScorerOptions& options);
  std::vector<AnswerScore> operator()(const std::vector<const Example*>& rows) const override;

 private:
  std::vector<std::shared_ptr<const ScoreModel>> models_;
  RewardScorerOptions options_;
};

/// The reward that a policy of preference training stands for (Rafailov et al., arXiv:2305.18290
/// eq. 5), up to a constant a prompt: β (log π(y) − log π_ref(y)).
class ImplicitScorer : public Scorer {
 public:
  ImplicitScorer(std::shared_ptr<const CausalLM> policy, std::shared_ptr<const CausalLM> reference,
                 double beta, int64_t micro_batch_tokens = 16384);
  std::vector<AnswerScore> operator()(const std::vector<const Example*>& rows) const override;

 private:
  std::shared_ptr<const CausalLM> policy_, reference_;
  double beta_;
  int64_t micro_batch_tokens_;
};

}  // namespace luce
