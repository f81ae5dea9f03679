// Tasks on rows that stand in a file: supervised fine-tuning and learning from preferences.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "luce/data/dataset.h"
#include "luce/train/task.h"

namespace luce {

/// Log-probs of a frozen model for every scored token of a row, by the hash of the row's tokens.
using PrecomputedLogps = std::unordered_map<uint64_t, std::vector<float>>;

/// A 64-bit hash of an example's token ids.
uint64_t content_key(const Example& example);

struct OfflineOptions {
  int64_t batch_size = 8;
  int64_t micro_batch_tokens = 16384;
  bool shuffle = true;
  uint64_t seed = 42;
  BatchOptions batch;
  int64_t chunk_bytes = int64_t{64} << 20;  // see HeadOptions
  int64_t max_chunk_bytes = 0;
};

/// Rows, a policy, perhaps a reference, and a loss.
class OfflineTask : public Task {
 public:
  OfflineTask(Policy policy, std::unique_ptr<SequenceLoss> loss, std::vector<Example> train,
              std::vector<Example> eval, const OfflineOptions& options);

  Policy& policy() override { return policy_; }
  int64_t steps_per_epoch() const override;
  Step next(int64_t step) override;
  void accumulate(const Step& step, size_t index, Metrics& metrics) override;
  bool can_evaluate() const override { return !eval_.empty(); }
  Metrics evaluate() override;

  const SequenceLoss& loss() const { return *loss_; }
  const OfflineOptions& options() const { return options_; }
  at::ScalarType policy_dtype() const { return policy_.model().options().dtype; }

 protected:
  /// Where a micro-batch may be cut into chunks: as the loss allows, unless record() needs more.
  virtual Coupling cut() const { return loss_->needs().couples; }
  HeadWorkspace* workspace() const { return workspace_.get(); }
  /// The reference's log-probs of a batch's targets [M], and its hidden states where it is a model.
  struct ReferenceValues {
    Tensor logps, hidden, head_weight;
  };
  virtual std::optional<ReferenceValues> reference(const Batch&,
                                                   const std::vector<const Example*>&) const {
    return std::nullopt;
  }
  /// Adds what can be told from the statistics of whole groups.
  virtual void record(const GroupInputs& inputs, const HeadStats& stats,
                      Metrics& metrics) const = 0;
  /// Called with whole groups before the first update. Throws SanityError where the numbers cannot
  /// be right.
  virtual void check_start(const GroupInputs&, const std::vector<int64_t>& /*rows*/) const {}

 private:
  std::vector<std::vector<const Example*>> micro_batches(
      const std::vector<const Example*>& rows) const;
  /// A part of a batch, cut out for the loss, or several put together.
  struct Part {
    GroupInputs inputs;
    HeadStats stats;
    std::vector<int64_t> rows;  // of the data file, one a group
  };
  Batch batch_of(const std::vector<const Example*>& rows) const;
  Part part_of(const Batch& batch, const std::optional<ReferenceValues>& reference,
               const HeadStats& stats, Range range) const;
  static Part joined(const std::vector<Part>& parts);
  /// Adds the loss of a part to the metrics and, where `training` is a step and not null (an
  /// evaluation), returns its gradient.
  Tensor gradient(Part part, const Totals& totals, const Step* training, Metrics& metrics) const;
  /// The first phase of a loss that couples the step: ∂loss/∂logps of every micro-batch.
  std::vector<Tensor> step_gradients(const Step& step, Metrics& metrics);
  HeadOptions head_options();
  void tell_head_use() const;
  /// KL(policy ‖ reference) at every target, over the whole vocabulary.
  Tensor exact_kl(const Tensor& hidden, const ReferenceValues& reference) const;

  Policy policy_;
  std::unique_ptr<SequenceLoss> loss_;
  std::vector<Example> train_, eval_;
  OfflineOptions options_;
  std::unique_ptr<HeadWorkspace> workspace_ = std::make_unique<HeadWorkspace>();
  HeadUse head_use_;
  std::vector<Tensor> seeds_;  // of step_gradients, for the second phase
};

/// Maximum likelihood of demonstrations.
class SftTask : public OfflineTask {
 public:
  using OfflineTask::OfflineTask;

 protected:
  void record(const GroupInputs&, const HeadStats&, Metrics&) const override;
};

/// Learning from (chosen, rejected) pairs.
class PreferenceTask : public OfflineTask {
 public:
  struct Frozen {
    std::optional<Reference> model;  // one of these two, where the loss needs a reference
    std::optional<PrecomputedLogps> logps;
    bool is_start = true;  // the same weights as the policy's: margins begin at 0
  };
  PreferenceTask(Policy policy, Frozen frozen, std::unique_ptr<SequenceLoss> loss,
                 std::vector<Example> train, std::vector<Example> eval,
                 const OfflineOptions& options);

 protected:
  std::optional<ReferenceValues> reference(const Batch& batch,
                                           const std::vector<const Example*>& rows) const override;
  Coupling cut() const override { return std::max(Coupling::group, loss().needs().couples); }
  void record(const GroupInputs&, const HeadStats&, Metrics&) const override;
  void check_start(const GroupInputs&, const std::vector<int64_t>& rows) const override;

 private:
  Frozen frozen_;
};

/// The reference's log-probs of every row: what Frozen::logps holds.
PrecomputedLogps precompute_logps(const Reference& reference, const std::vector<Example>& rows,
                                  const OfflineOptions& options);

}  // namespace luce
