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
  int64_t chunk_bytes = int64_t{64} << 20;
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
  at::ScalarType policy_dtype() const { return policy_.model().options().dtype; }

 protected:
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
  /// The loss of the groups whose targets lie in `range`, and, where `training` is a step and not
  /// null (an evaluation), its gradient there.
  Tensor gradient(const Batch& batch, const std::optional<ReferenceValues>& reference,
                  const HeadStats& stats, Range range, const Totals& totals, const Step* training,
                  Metrics& metrics) const;
  HeadOptions head_options() const;

  Policy policy_;
  std::unique_ptr<SequenceLoss> loss_;
  std::vector<Example> train_, eval_;
  OfflineOptions options_;
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
  void record(const GroupInputs&, const HeadStats&, Metrics&) const override;
  void check_start(const GroupInputs&, const std::vector<int64_t>& rows) const override;

 private:
  Frozen frozen_;
};

/// The reference's log-probs of every row: what Frozen::logps holds.
PrecomputedLogps precompute_logps(const Reference& reference, const std::vector<Example>& rows,
                                  const OfflineOptions& options);

}  // namespace luce
