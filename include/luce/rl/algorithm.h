// What an online algorithm is: advantages, once a rollout, and a loss at every token. It never
// reduces: the task divides by totals of the whole optimizer step.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "luce/base/json.h"
#include "luce/base/metrics.h"
#include "luce/loss/loss.h"
#include "luce/rl/rollout.h"

namespace luce {

struct AlgorithmNeeds {
  bool reference = false;              // log-probs of a frozen model
  bool values = false;                 // a value model
  bool greedy = false;                 // the reward of each prompt's greedy completion
  bool entropy = false;                // of the policy at every token, with its gradient
  int64_t least_group = 1;             // completions a prompt
  Coupling couples = Coupling::token;  // token or sequence: what the token loss sees at once
};

/// How the losses of an optimizer step's tokens become one number:
///   token_mean     Σ ℓ_t / tokens that are trained on
///   sequence_mean  mean over completions of Σ_t ℓ_t / |y|
///   sequence_sum   mean over completions of Σ_t ℓ_t
///   fixed_length   mean over completions of Σ_t ℓ_t / max_completion_length
enum class Aggregation { token_mean, sequence_mean, sequence_sum, fixed_length };

/// Weights [M] of the tokens of some completions in the loss of an optimizer step, 0 for those that
/// are not trained on. `which`: indices of the step's completions in the rollout; all others get 0.
/// Means over completions count those that have a reward, trained on or not. Throws ArgumentError
/// on an index that is not in the rollout, and on a length below 1 where it is divided by.
std::vector<double> token_weights(const Rollout& rollout, const Advantages& advantages,
                                  const std::vector<int64_t>& which, Aggregation aggregation,
                                  int64_t max_completion_length);

/// Tokens of an optimizer step that a loss sees at once: whole completions where it couples them,
/// else any run of tokens. All [m], in the statistics type of the policy.
struct PolicyInputs {
  TokenValues logps;  // of the policy, tempered; differentiable
  Tensor old_logps;   // of the policy that drew them
  Tensor ref_logps;   // of the reference; undefined without one
  Tensor advantages;  //
  Tensor entropy;     // differentiable; undefined unless asked for
  Tensor weights;     // of the tokens in the loss: 0 where they are not trained on, for metrics
  Tensor importance = {};  // multiplies the policy's part of the loss where another policy sampled;
                           // constant; undefined: 1
};

/// The same of a value model.
struct ValueInputs {
  Tensor values;      // [m] differentiable
  Tensor old_values;  // [m] when the tokens were drawn
  Tensor returns;     // [m]
  Tensor weights;     // [m]
};

/// ½ max((V − G)², (clip(V, V_old − c, V_old + c) − G)²) at every token, [m]; c = 0: ½ (V − G)².
/// Logs loss/value_avg and, where it clips, val/clipfrac_avg.
Tensor clipped_value_loss(const ValueInputs& inputs, double clip, Metrics& metrics);

class Algorithm {
 public:
  virtual ~Algorithm() = default;
  virtual AlgorithmNeeds needs() const { return {}; }
  virtual Aggregation aggregation() const { return Aggregation::token_mean; }
  /// Passes over each rollout, and optimizer steps of a pass.
  virtual int64_t epochs() const { return 1; }
  virtual int64_t minibatches() const { return 1; }

  /// Throws ArgumentError where the rollout lacks what needs() asks for.
  virtual Advantages advantages(const Rollout& rollout, Metrics& metrics) const = 0;
  /// The loss at every token [m], differentiable in the log-probs and the entropy.
  virtual Tensor operator()(const PolicyInputs& inputs, Metrics& metrics) const = 0;
  /// The value model's loss at every token [m], with the factor that it has in the sum: here
  /// clipped_value_loss without a clip, factor 1.
  virtual Tensor value_loss(const ValueInputs& inputs, Metrics& metrics) const;

  /// Called once a rollout, after advantages(): the place of running baselines and adaptive KL.
  virtual void observe(const Rollout& /*rollout*/) {}
  /// Called after every update with the step's metrics.
  virtual void after_step(const Metrics& /*step*/) {}
  /// What these keep, for a checkpoint; null: nothing.
  virtual Json state() const { return nullptr; }
  /// Throws DataError on what state() never gives.
  virtual void load_state(const Json& state);
};

}  // namespace luce
