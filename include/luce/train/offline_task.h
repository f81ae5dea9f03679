// Tasks on rows that stand in a file: supervised fine-tuning and learning from preferences.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "luce/data/dataset.h"
#include "luce/train/displacement.h"
#include "luce/train/row_steps.h"

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
  int64_t max_length = 0;    // of a prompt with another row's answer; 0: the model's context
  int64_t sync_steps = 0;    // the reference moves towards the policy after so many steps; 0: not
  double mixup_alpha = 0.6;  // by this share
  int64_t probe_rows = 0;    // pairs, of the evaluation where there is one, that are watched for
                             // displacement; 0: none
  int64_t top_tokens = 5;    // gainers that the report names
  bool rows_come_later = false;                         // a subclass makes them while training
  std::function<std::string(int64_t)> token_text = {};  // for the report; undefined: the id
};

/// What a policy is held against: a model, or its log-probs of every row.
struct Frozen {
  std::optional<Reference> model;
  std::optional<PrecomputedLogps> logps;
  bool is_start = true;  // the same weights as the policy's: margins begin at 0
};

struct LossPart;

/// Rows, a policy, perhaps a reference, and a loss.
class OfflineTask : public Task {
 public:
  /// Throws ArgumentError where the loss needs a reference that is not there, DataError where a row
  /// does not fit the model.
  OfflineTask(Policy policy, Frozen frozen, std::unique_ptr<SequenceLoss> loss,
              std::vector<Example> train, std::vector<Example> eval, const OfflineOptions& options);

  Trainable& trained() override { return policy_; }
  Policy& policy() { return policy_; }
  int64_t steps_per_epoch() const override { return rows_.steps_per_epoch(); }
  Step next(int64_t step) override { return rows_.next(step); }
  void accumulate(const Step& step, size_t index, Metrics& metrics) override;
  void after_step(int64_t done, Metrics& metrics) override;
  TaskState save() override;
  void load(const TaskState& state) override;
  bool can_evaluate() const override { return !rows_.eval().empty(); }
  Metrics evaluate() override;
  /// Reports how the probe's answers moved and where their probability went.
  Json finish() override;

  const SequenceLoss& loss() const { return *loss_; }
  const OfflineOptions& options() const { return options_; }
  at::ScalarType policy_dtype() const { return policy_.model().options().dtype; }

 protected:
  /// Where a micro-batch may be cut into chunks: as the loss allows, unless record() needs more.
  virtual Coupling cut() const { return loss_->needs().couples; }
  const RowSteps& rows() const { return rows_; }
  /// Adds what can be told from the statistics of whole groups.
  virtual void record(const GroupInputs& inputs, const HeadStats& stats,
                      Metrics& metrics) const = 0;

 private:
  Batch batch_of(const RowList& rows) const;
  /// The reference's log-probs of a batch's targets [M], and its hidden states where it is a model.
  struct ReferenceValues {
    Tensor logps, hidden, head_weight;
  };
  ReferenceValues reference(const Batch& batch, const RowList& rows, bool with_logps) const;
  /// Further tokens that the loss wants, or nothing.
  std::optional<Candidates> candidates_of(const RowList& rows, const Batch& batch) const;
  HeadOptions head_options(const Candidates* candidates);

  /// Adds the loss of a part to the metrics and, where `training` is a step and not null (an
  /// evaluation), returns its gradient.
  HeadGradients gradient(LossPart part, const Totals& totals, const Step* training,
                         Metrics& metrics) const;
  /// Statistics of whole batches without a gradient, with the answers of other rows where the loss
  /// wants them: what a loss that couples the step is called with.
  LossPart whole(const RowList& rows, Metrics* kl);
  /// The first phase of a loss that couples the step: ∂loss/∂statistics of every micro-batch.
  std::vector<HeadGradients> step_gradients(const Step& step, Metrics& metrics);
  /// Divergences from the reference, which are terms of the loss: their gradients are added to
  /// d_hidden and to the head's buffer, unless d_hidden is undefined.
  void add_divergences(const Tensor& hidden, const ReferenceValues& reference, const Totals& totals,
                       const Tensor& d_hidden, Metrics& metrics);
  /// KL(policy ‖ reference) at every target, over the whole vocabulary.
  void add_exact_kl(const Tensor& hidden, const ReferenceValues& reference, Metrics& metrics) const;
  /// Adds what one-token estimators make of the KL to the reference on the data's own tokens, which
  /// the policy did not draw: kl_data is the exact one.
  void record_kl_estimates(const GroupInputs& inputs, Metrics& metrics) const;
  /// Adds how far the answers moved since the start, where the reference is the start.
  void record_displacement(const GroupInputs& inputs, Metrics& metrics) const;
  void check_start(const GroupInputs& inputs, const std::vector<int64_t>& rows) const;
  void tell_head_use() const;
  int64_t max_length() const;

  Policy policy_;
  Frozen frozen_;
  std::unique_ptr<SequenceLoss> loss_;
  RowSteps rows_;
  OfflineOptions options_;
  std::optional<DisplacementProbe> probe_;
  std::unique_ptr<HeadWorkspace> workspace_ = std::make_unique<HeadWorkspace>();
  HeadUse head_use_;
  std::vector<HeadGradients> seeds_;  // of step_gradients, for the second phase
};

/// Maximum likelihood of demonstrations, or distillation on them.
class SftTask : public OfflineTask {
 public:
  using OfflineTask::OfflineTask;

 protected:
  void record(const GroupInputs&, const HeadStats&, Metrics&) const override;
};

/// Learning from judged answers: pairs, labels, ranks, scores.
class PreferenceTask : public OfflineTask {
 public:
  using OfflineTask::OfflineTask;

 protected:
  Coupling cut() const override { return std::max(Coupling::group, loss().needs().couples); }
  void record(const GroupInputs&, const HeadStats&, Metrics&) const override;
};

/// The reference's log-probs of every row: what Frozen::logps holds.
PrecomputedLogps precompute_logps(const Reference& reference, const std::vector<Example>& rows,
                                  const OfflineOptions& options);

}  // namespace luce
