// All answers of a small vocabulary with a policy and a reference: what estimates of their KL
// divergence are on average, and how they spread.
#pragma once

#include <ATen/core/Tensor.h>

#include "luce/loss/kl.h"
#include "luce/oracle/sequences.h"

namespace luce::experiment {

struct Moments {
  double mean = 0, variance = 0;
};

/// How the mean of a gradient's estimate lies to the right one.
struct Comparison {
  double bias = 0;      // ‖E g − ∇KL‖ / ‖∇KL‖
  double cosine = 0;    // NaN where E g is 0
  double variance = 0;  // E‖g − E g‖² / ‖∇KL‖²
};

/// All answers, a policy and its reference with free logits after every prefix.
class KlTree {
 public:
  /// Logits of policy and reference: [N, V], a row for each prefix.
  KlTree(const oracle::Sequences& s, const Tensor& policy, const Tensor& ref);

  double kl() const { return kl_; }
  Moments moments(const Tensor& of_answers) const;
  /// k over the tokens of each answer, added up, and k of the answer: [S].
  Tensor per_token(const KlOptions& k) const;
  Tensor per_sequence(const KlOptions& k) const;
  /// Σ_t KL(π(· | prefix_t) ‖ π_ref(· | prefix_t)) along each answer, [S].
  Tensor exact_per_token() const;

  /// The gradient that one sampled answer gives, of every answer: [S, parameters].
  Tensor gradient_per_token(const KlOptions& k) const;
  Tensor gradient_per_sequence(const KlOptions& k) const;
  /// Σ_t ∇KL_t(prefix), prefixes held: what a head that sees the whole vocabulary gives.
  Tensor gradient_of_exact() const;
  Tensor mean(const Tensor& g) const;  // [parameters]
  Comparison compare(const Tensor& g) const { return compare(g, exact_gradient_); }
  /// The same with ∇KL(π_ref ‖ π), the other way round, as the right one.
  Comparison compare_reversed(const Tensor& g) const { return compare(g, reverse_gradient_); }

 private:
  Comparison compare(const Tensor& g, const Tensor& right) const;
  Tensor add_up(const Tensor& of_tokens) const;

  oracle::Sequences s_;
  Tensor theta_, ref_;
  TokenValues logps_, ref_logps_;
  Tensor log_p_, probability_;  // [S]
  Tensor scores_;               // [M, parameters] s_t of every token
  Tensor exact_gradient_, reverse_gradient_;
  double kl_ = 0;
};

}  // namespace luce::experiment
