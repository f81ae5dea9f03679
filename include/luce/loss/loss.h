// What a loss is. It sees log-probs of completions, never padding, and returns unreduced values;
// the task divides by totals of the whole optimizer step, so that no loss can get that wrong.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "luce/base/metrics.h"
#include "luce/batch.h"
#include "luce/ops/tensor.h"

namespace luce {

/// Ragged per-token values of completions: completion c owns [offset[c], offset[c+1]).
struct TokenValues {
  Tensor values;                // [M]
  std::vector<int64_t> offset;  // [C+1]

  /// [C] f64, on the CPU or the device of `values`. f64 because a completion of 1,000 tokens has a
  /// log-prob near −1,000, where neighbouring f32 numbers are 6e-5 apart. An empty one has sum 0.
  Tensor sum() const;
  /// [C] f64: sum / length; an empty completion has mean 0.
  Tensor mean() const;
  /// [C] f64 lengths.
  Tensor length() const;
};

/// What a step's total divides a term by.
enum class Per {
  item,          // groups: pairs, or rows
  chosen_token,  // scored tokens of chosen completions
  token,         // all scored tokens
  sequence,      // completions
};

/// One summand of a loss: its values are added up, divided by the step's total and weighted.
struct Term {
  Tensor value;  // any shape, differentiable in the log-probs
  Per per = Per::item;
  double weight = 1;
};
using Terms = std::vector<Term>;

/// How much a whole optimizer step holds of everything a term may divide by.
struct Totals {
  double items = 0, chosen_tokens = 0, tokens = 0, sequences = 0;
  double of(Per per) const;
};
/// The totals of rows, counted on their token ids before any forward pass.
Totals totals_of(const std::vector<const Example*>& rows);

/// What a loss needs beyond the policy's log-probs.
struct Needs {
  bool reference = false;
  /// What it must see at once. A loss that couples the step is called once with the groups of all
  /// micro-batches; the policy then runs twice, first without a gradient.
  Coupling couples = Coupling::group;
};

/// Completions of whole groups, with roles.
struct GroupInputs {
  TokenValues logps;                     // policy, differentiable
  std::optional<TokenValues> ref_logps;  // reference, where needs().reference
  std::vector<Role> role;                // [C]
  std::vector<int64_t> group;            // [Q+1]

  /// Indices of the completions with `wanted` role: [k] i64.
  Tensor with_role(Role wanted) const;
};

/// A loss over groups of completions.
class SequenceLoss {
 public:
  virtual ~SequenceLoss() = default;
  virtual Needs needs() const { return {}; }
  /// The strength by which log-ratios become logged rewards (β); 1 for losses without one.
  virtual double reward_scale() const { return 1; }
  /// Unreduced terms. `metrics` may take what the loss alone can see.
  virtual Terms operator()(const GroupInputs& inputs, Metrics& metrics) const = 0;
};

template <class T>
struct Pair {
  T chosen, rejected;
};

/// Pairs of completions of one prompt. Every tensor is [P] f64, in nats, one entry a pair.
struct PairInputs {
  Pair<Tensor> logps;       // Σ log π, differentiable
  Pair<Tensor> mean_logps;  // the same per token
  Pair<Tensor> length;      // tokens
  std::optional<Pair<Tensor>> ref_logps, ref_mean_logps;

  /// u = log π(y) − log π_ref(y), summed over tokens.
  Pair<Tensor> log_ratio() const;
};

/// A view of SequenceLoss for losses of (chosen, rejected): one value a pair.
class PairLoss : public SequenceLoss {
 public:
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const final;
  /// [P] values, differentiable in the log-probs.
  virtual Tensor operator()(const PairInputs& pair, Metrics& metrics) const = 0;
};

/// Several losses added up with weights.
class LossMix : public SequenceLoss {
 public:
  struct Part {
    std::unique_ptr<SequenceLoss> loss;
    double weight = 1;
  };
  explicit LossMix(std::vector<Part> parts) : parts_(std::move(parts)) {}
  Needs needs() const override;
  double reward_scale() const override;
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const override;

 private:
  std::vector<Part> parts_;
};

/// The weighted sum of all terms over the step's totals: a scalar, f64.
Tensor reduce(const Terms& terms, const Totals& totals);

}  // namespace luce
