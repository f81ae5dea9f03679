// The view of a loss over (chosen, rejected) pairs, and what can be changed about any such loss.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "luce/base/schema.h"
#include "luce/loss/loss.h"

namespace luce {

template <class T>
struct Pair {
  T chosen, rejected;
};

/// The f-divergence that holds the policy to its reference (Wang et al., arXiv:2309.16240): a
/// log-ratio u counts as f′(eᵘ).
struct FDivergence {
  std::string type = "reverse_kl";
  double alpha = 0.5;

  ///   reverse_kl  u          forward_kl        1 − e^(−u)
  ///   js          log 2σ(u)  alpha_divergence  (e^((α−1)u) − 1) / (α−1), u for α = 1
  Tensor score(const Tensor& u) const;
};

/// Pairs of completions of one prompt. Every tensor is [P] f64, in nats, one entry a pair.
/// A row's margin has been taken off its chosen answer: log π(y⁺) is lower by margin / β.
struct PairInputs {
  Pair<Tensor> logps;       // Σ log π, differentiable
  Pair<Tensor> mean_logps;  // the same per token
  Pair<Tensor> length;      // tokens
  std::optional<Pair<Tensor>> ref_logps, ref_mean_logps;
  Pair<Tensor> shift = {};  // what has been taken off for a margin; undefined: nothing
  Tensor preference = {};   // probability that the chosen answer is the better one; undefined: 1
  FDivergence f = {};

  /// u = log π(y) − log π_ref(y), summed over tokens.
  Pair<Tensor> log_ratio() const;
  /// s = f′(eᵘ): u itself unless another f-divergence was asked for.
  Pair<Tensor> score() const;
  /// s / |y|.
  Pair<Tensor> mean_score() const;
  /// The same pairs the other way round.
  PairInputs swapped() const;
};

/// What can be changed about any loss of pairs, in its place in the config.
struct PairModifiers {
  FDivergence f;
  std::optional<double> ld_alpha;
  bool use_weighting = false, reference_free = false;
  double rpo_alpha = 0;

  bool any() const;
};
void describe(Schema& s, PairModifiers& o);

/// A loss of (chosen, rejected): one value a pair. A row whose preference p is not 1 counts as
/// p ℓ(chosen, rejected) + (1 − p) ℓ(rejected, chosen).
class PairLoss : public SequenceLoss {
 public:
  Rows rows() const final { return Rows::pairs; }
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const final;
  /// The same with modifiers.
  Terms operator()(const GroupInputs& inputs, const PairModifiers& modifiers,
                   Metrics& metrics) const;

  /// One value a pair, [P], differentiable in the log-probs.
  virtual Tensor values(const PairInputs& pair, Metrics& metrics) const = 0;
  /// Whether values() reads PairInputs::preference itself.
  virtual bool takes_preference() const { return false; }
  /// Weight of the chosen answers' negative log-likelihood per token, added to the loss.
  virtual double nll_weight() const { return 0; }
  /// The same for gold answers, where rows have them.
  virtual double gold_nll_weight() const { return 0; }
};

/// A loss of pairs against a reference, with options that hold a β.
template <class O>
class ReferencePairLoss : public WithOptions<PairLoss, O> {
 public:
  using WithOptions<PairLoss, O>::WithOptions;
  Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return this->options_.beta; }
};

/// A loss of pairs of the policy's own log-probs, with options that hold a β. Logged rewards are
/// β log π(y), or β (log π(y)) / |y| where `per_token` says so.
template <class O>
class PolicyPairLoss : public WithOptions<PairLoss, O> {
 public:
  using WithOptions<PairLoss, O>::WithOptions;
  double reward_scale() const override { return this->options_.beta; }
  virtual bool per_token() const { return false; }
  Tensor rewards(const GroupInputs& x) const override {
    return scaled(per_token() ? x.logps.mean() : x.logps.sum(), reward_scale());
  }
};

/// ∂loss/∂log π of the answers, turned so that an ordinary loss has positive ones:
/// ∇loss = −w.chosen ∇log π(y⁺) + w.rejected ∇log π(y⁻), [P] each. By autograd.
Pair<Tensor> gradient_weights(const PairLoss& loss, const PairInputs& pair);

/// A loss of pairs with modifiers.
class ModifiedPairLoss : public SequenceLoss {
 public:
  /// Throws ArgumentError where a modifier has nothing to act on.
  ModifiedPairLoss(std::unique_ptr<PairLoss> loss, const PairModifiers& modifiers);
  Rows rows() const override { return Rows::pairs; }
  Needs needs() const override;
  double reward_scale() const override { return loss_->reward_scale(); }
  Tensor rewards(const GroupInputs& inputs) const override;
  Terms operator()(const GroupInputs& inputs, Metrics& metrics) const override;
  void check_rows(const std::vector<Example>& train) const override { loss_->check_rows(train); }
  void candidates(const Example& row, size_t completion,
                  std::vector<std::vector<int64_t>>& tokens) const override {
    loss_->candidates(row, completion, tokens);
  }
  void observe(const GroupInputs& step) override { loss_->observe(step); }
  Json state() const override { return loss_->state(); }
  void load_state(const Json& state) override { loss_->load_state(state); }

 private:
  std::unique_ptr<PairLoss> loss_;
  PairModifiers modifiers_;
};

}  // namespace luce
