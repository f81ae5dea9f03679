// How far a policy has moved from its reference, from answers that the policy gave.
#pragma once

#include <vector>

#include "luce/data/dataset.h"
#include "luce/model/causal_lm.h"

namespace luce {

/// Estimates of KL(π ‖ π_ref) from one answer y ~ π, nats: sums over its tokens, with
/// l_t = log π(y_t | y_<t) − log π_ref(y_t | y_<t).
struct KlEstimates {
  double exact = 0;  // Σ_t KL(π(· | y_<t) ‖ π_ref(· | y_<t)) over the whole vocabulary
  double k1 = 0;     // Σ_t l_t: unbiased
  double k2 = 0;     // Σ_t l_t²/2: biased, of the second order in the distance
  double k3 = 0;     // Σ_t e^{−l_t} − 1 + l_t: unbiased, never negative
};

/// One entry for each completion of each row. By the chain rule the expectation of `exact`, k1 and
/// k3 over answers of the policy is the KL of whole answers; `exact` varies least. Throws DataError
/// on models of different vocabularies.
std::vector<KlEstimates> policy_kl(const CausalLM& policy, const CausalLM& reference,
                                   const std::vector<const Example*>& rows,
                                   int64_t micro_batch_tokens = 16384);

}  // namespace luce
