// Likelihood displacement: preference training that makes chosen answers less likely too, and where
// their probability goes (Razin et al., arXiv:2410.08847).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "luce/base/metrics.h"
#include "luce/data/dataset.h"
#include "luce/model/causal_lm.h"

namespace luce {

/// The centred hidden embedding similarity of a pair (arXiv:2410.08847 definition 2): with
/// H(y) = Σ h_t over the rows of the trunk that predict the answer's tokens,
///   CHES = ⟨H(y⁺), H(y⁻)⟩ − ‖H(y⁺)‖²
///   length-normalised: ⟨H(y⁺), H(y⁻)⟩ / (|y⁺| |y⁻|) − ‖H(y⁺)‖² / |y⁺|²
/// The larger, the more a step on the pair lowers log π(y⁺).
struct Ches {
  double score = 0, normalised = 0;
};

/// CHES of every pair; rows without a chosen and a rejected answer are refused (ArgumentError).
std::vector<Ches> ches(const CausalLM& model, const std::vector<const Example*>& pairs,
                       int64_t micro_batch_tokens = 16384);

/// How far the answers of one pair have moved since the start.
struct PairShift {
  int64_t row = 0;
  double chosen = 0, rejected = 0;  // log π now − log π at the start, nats
  bool both_fell() const { return chosen < 0 && rejected < 0; }
};

/// A token that is likelier than at the start at one place of an answer.
struct TokenGain {
  int64_t token = 0;
  double before = 0, after = 0;  // probabilities
};

/// One place of an answer: the target, what it lost, and who gained.
struct PlaceShift {
  int64_t row = 0, place = 0, target = 0;  // place: index in the answer
  bool chosen = true;
  double before = 0, after = 0;  // probability of the target
  std::vector<TokenGain> gains;  // largest first
};

/// A fixed set of pairs, and what the model thought of them at the start.
class DisplacementProbe {
 public:
  /// Remembers the start's log-probs and, for gains(), a copy of its weights.
  DisplacementProbe(const CausalLM& start, std::vector<Example> pairs,
                    int64_t micro_batch_tokens = 16384);

  std::vector<PairShift> shifts(const CausalLM& now) const;
  /// Every scored place of the probe with the k tokens that gained most probability there.
  std::vector<PlaceShift> gains(const CausalLM& now, int64_t k) const;
  /// Adds displacement/chosen, displacement/rejected (mean shifts, nats) and
  /// displacement/both_fell (a share).
  void record(const CausalLM& now, Metrics& metrics) const;

  const std::vector<Example>& pairs() const { return pairs_; }
  /// Log-probs of all answers at the start, [C] f64: for a checkpoint.
  const std::vector<double>& start_logps() const { return start_logps_; }

 private:
  std::vector<double> logps(const CausalLM& model) const;

  std::vector<Example> pairs_;
  int64_t micro_batch_tokens_;
  std::shared_ptr<CausalLM> start_;
  std::vector<double> start_logps_;
};

/// Sections of a run's report (docs/metrics.md): how the probe's answers moved, and which tokens
/// gained the most where chosen and rejected answers stood. `token_text` undefined: ids.
Json displacement_sections(const DisplacementProbe& probe, const CausalLM& now, int64_t top_tokens,
                           const std::function<std::string(int64_t)>& token_text);

}  // namespace luce
