// The policy's loss at every token of a rollout: a ratio to the policy that sampled, and what is
// made of it and the advantage.
#pragma once

#include <optional>
#include <string>

#include "luce/base/schema.h"
#include "luce/rl/algorithm.h"

namespace luce {

struct SurrogateOptions {
  std::string surrogate = "clip";
  std::string importance_sampling_level = "token";
  std::string clip = "both";  // the sides of the ratio that are clipped
  double epsilon = 0.2;
  std::optional<double> epsilon_high = {};  // as epsilon
  std::optional<double> delta = {}, dual_clip = {};
  double sapo_temperature_pos = 1, sapo_temperature_neg = 1.05;
  double vespo_k_pos = 2, vespo_lambda_pos = 3, vespo_k_neg = 3, vespo_lambda_neg = 2;

  /// How far the ratio may go below and above 1; infinity on a side that is not clipped.
  double below() const;
  double above() const;
  /// What the loss must see at once.
  Coupling couples() const;
};

void describe(Schema& s, SurrogateOptions& o);

/// Throws ArgumentError on options that contradict each other.
void check(const SurrogateOptions& options);

/// Values of completions, [C], at each of their tokens, [M].
Tensor at_tokens(const Tensor& values, const std::vector<int64_t>& offset);

/// The ratio of the policy to the one that sampled, [m], in the type of the log-probs and
/// differentiable in them. With d = log π − log π_old at a token, sums over a completion:
///   token           e^d
///   sequence        e^(Σd/|y|), the same at all tokens (GSPO, arXiv:2507.18071)
///   sequence_token  of that value, with the gradient of each token's own d (GSPO-token)
///   completion      e^(Σd); the gradient of |y| d at each token, so that the mean over tokens of
///                   ratio · A is e^(Σd) Σ_t A_t ∇d_t, for advantages of tokens too
/// Exponents are clamped to ±20. Throws ArgumentError on another level.
Tensor importance_ratio(const TokenValues& logps, const Tensor& old_logps,
                        const std::string& level);

/// The loss at every token [m], differentiable in the log-probs; without KL and entropy. Logs the
/// shares of clipped tokens, policy/approxkl_avg, val/ratio.
Tensor surrogate_loss(const PolicyInputs& inputs, const SurrogateOptions& options,
                      Metrics& metrics);

}  // namespace luce
