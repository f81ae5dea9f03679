// Learning from samples of the policy itself: rollout, score, update.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "luce/rl/algorithm.h"
#include "luce/train/critic.h"
#include "luce/train/rollouts.h"
#include "luce/train/task.h"

namespace luce {

/// What weighs a token's loss where the policy that is updated is not quite the one that sampled
/// (truncated importance sampling, as in Espeholt et al., arXiv:1802.01561): the ratio π_old /
/// π_sampler of a token, or of a whole completion, clamped to the bounds or set to 0 outside of
/// them.
struct ImportanceOptions {
  std::string mode = "off";  // off, token_truncate, token_mask, sequence_truncate, sequence_mask
  double least = 0, most = 3;
};

struct RlOptions {
  int64_t batch_size = 8;  // prompts of one optimizer step
  int64_t micro_batch_tokens = 16384;
  BatchOptions batch;
  int64_t chunk_bytes = int64_t{64} << 20;  // see HeadOptions
  int64_t max_chunk_bytes = 0;
  uint64_t seed = 42;      // of the order of minibatches
  double temperature = 1;  // of the policy's log-probs: that of the sampler
  int64_t max_completion_length = 512;
  ImportanceOptions importance;
  /// Rollouts that the weights of a sample may lie behind; older samples lose their reward.
  int64_t max_staleness = 1;
  int64_t sync_steps = 0;    // the reference moves towards the policy after so many steps; 0: not
  double mixup_alpha = 0.6;  // by this share
  RolloutLog log;
};

/// The rollouts of a run, in order. Running ahead, the next one is sampled while this one is
/// trained on, with the weights that the training on this one begins with: from a copy, or by a
/// sampler that was given them.
class RolloutStream {
 public:
  /// Gives the weights to a sampler that does not read the policy itself; the rollouts so far.
  using Publish = std::function<void(int64_t index, const CausalLM& policy)>;

  /// `snapshot`: the model that the source samples from, where it is a copy of the policy; null:
  /// the source samples from the policy itself, or from what it was given by `publish`.
  RolloutStream(RolloutSource source, std::shared_ptr<CausalLM> snapshot, Publish publish = {},
                bool ahead = false);

  /// The rollout of that index, to be asked for in order. `policy` has been trained on all before
  /// it.
  CollectedRollout next(int64_t index, const CausalLM& policy);

  RolloutSource& source() { return source_; }
  bool is_ahead() const { return ahead_; }
  /// Waits for what is being sampled: samplers and rewards are asked by one thread at a time.
  void wait() const {
    if (pending_.valid()) pending_.wait();
  }
  /// Waits too.
  Json save();
  void load(const Json& state);

 private:
  void hand_over(int64_t index, const CausalLM& policy);
  void start(int64_t index, const CausalLM& policy);

  RolloutSource source_;
  std::shared_ptr<CausalLM> snapshot_;
  Publish publish_;
  bool ahead_;
  std::optional<CollectedRollout> ready_;  // sampled before a checkpoint, still to be used
  std::future<CollectedRollout> pending_;
};

/// A policy, an algorithm, and what it needs: a reference, a value model.
class RlTask : public Task {
 public:
  /// `eval` may be null. Throws ArgumentError where the algorithm lacks a reference, a value model
  /// or completions for its groups.
  RlTask(Policy policy, std::optional<Reference> reference, std::optional<Critic> critic,
         std::unique_ptr<Algorithm> algorithm, std::unique_ptr<RolloutStream> rollouts,
         std::unique_ptr<RolloutSource> eval, const RlOptions& options);

  Trainable& trained() override { return policy_; }
  std::vector<Companion> companions() override;
  void set_value_learning_rate(double rate) { value_learning_rate_ = rate; }
  int64_t steps_per_epoch() const override;
  Step next(int64_t step) override;
  void accumulate(const Step& step, size_t index, Metrics& metrics) override;
  void after_step(int64_t done, Metrics& metrics) override;
  TaskState save() override;
  void load(const TaskState& state) override;
  bool can_evaluate() const override { return eval_ != nullptr; }
  Metrics evaluate() override;
  Json finish() override;

  Policy& policy() { return policy_; }
  Critic* critic() { return critic_ ? &*critic_ : nullptr; }
  Algorithm& algorithm() { return *algorithm_; }

 private:
  /// A prompt and some of its completions, which are run together.
  struct Piece {
    Example example;
    std::vector<int64_t> completions;  // places in the rollout
  };
  int64_t updates_a_rollout() const { return algorithm_->epochs() * algorithm_->minibatches(); }
  std::vector<Piece> pieces_of(const std::vector<int64_t>& groups) const;
  std::vector<std::vector<const Piece*>> micro_batches(const std::vector<Piece>& pieces) const;
  Batch batch_of(const std::vector<const Piece*>& pieces) const;
  HeadOptions head_options();
  void begin(CollectedRollout collected, Metrics& metrics);
  void drop_stale(Metrics& metrics);
  void score_rollout();
  void set_importance(Metrics& metrics);

  Policy policy_;
  std::optional<Reference> reference_;
  std::optional<Critic> critic_;
  std::unique_ptr<Algorithm> algorithm_;
  std::unique_ptr<RolloutStream> rollouts_;
  std::unique_ptr<RolloutSource> eval_;
  RlOptions options_;
  double value_learning_rate_ = 0;

  CollectedRollout collected_;  // what is being trained on
  Rollout rollout_;
  Advantages advantages_;
  std::vector<double> importance_;  // [M]; empty: all 1
  bool is_on_policy_ = false;       // old log-probs are the sampler's
  Metrics pending_metrics_;         // of the rollout, for its first optimizer step

  std::vector<Piece> pieces_;  // of the optimizer step
  std::vector<std::vector<const Piece*>> micro_;
  std::vector<double> weights_, value_weights_;  // [M] of the step's tokens
  bool is_first_update_ = false;                 // of the rollout
  bool is_detailed_ = false;                     // the step's metrics are about to be written
  double first_gap_ = 0;  // largest log-ratio of sampler and trainer in this step
  std::unique_ptr<HeadWorkspace> workspace_ = std::make_unique<HeadWorkspace>();
};

}  // namespace luce
