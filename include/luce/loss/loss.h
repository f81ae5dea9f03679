// What a loss is. It sees log-probs of completions, never padding, and returns unreduced values;
// the task divides by totals of the whole optimizer step, so that no loss can get that wrong.
// Most losses are written against a view of this: pair.h, unpaired.h, ranked.h.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "luce/base/json.h"
#include "luce/base/metrics.h"
#include "luce/batch.h"
#include "luce/ops/head.h"
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
  item,            // groups: pairs, or rows
  sequence,        // completions that are judged: all but gold and mismatched ones
  token,           // scored tokens of all but mismatched completions
  chosen_token,    // scored tokens of chosen completions
  rejected_token,  // scored tokens of rejected completions
  gold_token,      // scored tokens of gold completions
  judged_step,     // labelled steps of stepwise answers
  step,            // 1: the value is one of the whole step
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
  double rejected_tokens = 0, gold_tokens = 0, judged_steps = 0;
  double of(Per per) const;
};
/// The totals of rows, counted on their token ids before any forward pass.
Totals totals_of(const std::vector<const Example*>& rows);

/// A term over whole distributions: weight · Σ D(π, π_ref) over scored tokens, divided by the
/// total. The head adds its gradient without storing a distribution.
struct DivergenceTerm {
  Divergence kind = Divergence::forward_kl;  // KL(π ‖ π_ref)
  double beta = 0.5;                         // of jensen_shannon
  double temperature = 1;                    // of both sides
  Per per = Per::token;
  double weight = 1;
};

/// What a loss needs beyond the policy's log-probs.
struct Needs {
  bool reference = false;
  /// What it must see at once. A loss that couples the step is called once with the groups of all
  /// micro-batches; the policy then runs twice, first without a gradient.
  Coupling couples = Coupling::group;
  bool log_sum_p2 = false;  // log Σ p² at every token
  bool candidates = false;  // log-probs of further tokens, named by SequenceLoss::candidates
  bool gold = false;        // the gold answers of rows, where they have one
  /// Beside every judged answer, that of another row to the same prompt. Goes with Coupling::step.
  bool mismatched = false;
  bool logps = true;  // false: the divergences are all there is to it
  std::vector<DivergenceTerm> divergences = {};
};

/// The rows that a loss can learn from.
enum class Rows {
  any,
  pairs,     // preference rows
  labelled,  // unpaired rows, or the answers of preference rows one by one
  ranked,    // rows of several answers in an order
  scored,    // rows of several answers with scores
  stepwise,  // rows whose steps are labelled
};

/// Log-probs of further tokens: those of target m are [offset[m], offset[m+1]).
struct CandidateValues {
  Tensor logps;                 // [K] differentiable
  std::vector<int64_t> offset;  // [M+1]
};

/// Completions of whole groups, with roles.
struct GroupInputs {
  TokenValues logps;                               // policy, differentiable
  std::optional<TokenValues> ref_logps;            // reference, where needs().reference
  std::vector<Role> role;                          // [C]
  std::vector<int64_t> group;                      // [Q+1]
  Judgements columns = {};                         // empty lists where nobody filled them in
  std::optional<TokenValues> log_sum_p2 = {};      // where needs().log_sum_p2; constant
  std::optional<CandidateValues> candidates = {};  // where needs().candidates

  int64_t num_groups() const { return static_cast<int64_t>(group.size()) - 1; }
  /// Indices of the completions with `wanted` role: [k] i64.
  Tensor with_role(Role wanted) const;
  /// The group of each completion.
  std::vector<int64_t> group_of() const;
};

/// A loss over groups of completions.
class SequenceLoss {
 public:
  virtual ~SequenceLoss() = default;
  virtual Rows rows() const { return Rows::any; }
  virtual Needs needs() const { return {}; }
  /// The strength by which log-ratios become rewards (β); 1 for losses without one.
  virtual double reward_scale() const { return 1; }
  /// What is logged as the reward of each completion, [C] f64 without a gradient; undefined: it has
  /// none. By default β (log π(y) − log π_ref(y)), where there is a reference.
  virtual Tensor rewards(const GroupInputs& inputs) const;
  /// Unreduced terms. `metrics` may take what the loss alone can see.
  virtual Terms operator()(const GroupInputs& inputs, Metrics& metrics) const = 0;

  /// Looks at all rows before training begins. Throws DataError where nothing can be learnt from
  /// them, and warns in the log where little can.
  virtual void check_rows(const std::vector<Example>& /*train*/) const {}

  /// Names further tokens whose log-probs the loss wants: tokens[t] at token t of a completion of
  /// the row. Called where needs().candidates.
  virtual void candidates(const Example& /*row*/, size_t /*completion*/,
                          std::vector<std::vector<int64_t>>& /*tokens*/) const {}

  /// Called once a training step, before operator(), with the groups of the step, where the loss
  /// couples it: the place to bring running statistics up to date.
  virtual void observe(const GroupInputs& /*step*/) {}
  /// Those statistics, for a checkpoint; null: there are none.
  virtual Json state() const { return nullptr; }
  /// Throws DataError on what state() never gives.
  virtual void load_state(const Json& state);
};

/// A loss, or a view of one, that keeps its options.
template <class View, class O>
class WithOptions : public View {
 public:
  using Options = O;
  explicit WithOptions(const O& options = {}) : options_(options) {}

 protected:
  O options_;
};

/// `factor` · values, without a gradient.
Tensor scaled(const Tensor& values, double factor);

/// The weighted sum of all terms over the step's totals: a scalar, f64.
Tensor reduce(const Terms& terms, const Totals& totals);

}  // namespace luce
