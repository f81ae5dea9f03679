// An outcome model (Cobbe et al., arXiv:2110.14168 §4.2): the answer's label is learnt at every one
// of its tokens
//   ℓ_t = −z log σ(r_t) − (1−z) log σ(−r_t)        z = 1 for a right (desirable, chosen) answer
#include "luce/loss/reward_outcome.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema&, RewardOutcomeOptions&) {}

RewardLossInfo RewardOutcome::info() {
  return {.name = "outcome",
          .title = "Outcome model",
          .paper = "Cobbe et al. 2021, arXiv:2110.14168, section 4.2",
          .formula = "loss = mean over tokens of -z log sigmoid(r_t) - (1-z) log sigmoid(-r_t)",
          .notes =
              "Unpaired rows with a label, or the answers of pairs, or stepwise rows. The score of "
              "an answer is the probability at its last token."};
}

Terms RewardOutcome::operator()(const ScoreInputs& x, Metrics&) const {
  std::vector<double> right;
  for (size_t c = 0; c < x.role.size(); ++c)
    right.resize(static_cast<size_t>(x.offset[c + 1]), x.role[c] == Role::chosen ? 1 : 0);
  const Tensor r = x.scores.select(1, 0).to(at::kDouble);
  const Tensor z = at::tensor(right, at::kDouble).to(r.device());
  return {{-z * at::log_sigmoid(r) - (1 - z) * at::log_sigmoid(-r), Per::token, 1}};
}

}  // namespace luce
