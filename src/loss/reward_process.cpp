// A process model (Uesato et al., arXiv:2211.14275; Lightman et al., arXiv:2305.20050): two logits
// (wrong, right) at the last token of every step
//   ℓ_s = −log softmax(r_s)[label of the step]
#include "luce/loss/reward_process.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, RewardProcessOptions& o) {
  s.field("train_on_last_step_only", o.train_on_last_step_only,
          "learn the label of the last step alone");
}

RewardLossInfo RewardProcess::info() {
  return {
      .name = "process",
      .title = "Process model",
      .paper = "Uesato et al. 2022, arXiv:2211.14275; Lightman et al. 2023, arXiv:2305.20050",
      .formula = "loss = mean over steps of -log softmax(r_s)[label of step s]",
      .notes =
          "Stepwise rows. The score of a step is the probability that it is right; `luce "
          "score` reduces them to one of an answer by last, min, mean, product or sum, or keeps "
          "all."};
}

Terms RewardProcess::operator()(const ScoreInputs& x, Metrics&) const {
  std::vector<int64_t> label;
  std::vector<double> counted;
  for (const auto& steps : x.columns.steps)
    for (size_t s = 0; s < steps.size(); ++s) {
      const bool out = options_.train_on_last_step_only && s + 1 < steps.size();
      label.push_back(steps[s].right ? 1 : 0);
      counted.push_back(out ? 0 : 1);
    }
  const Tensor logp = x.scores.to(at::kDouble).log_softmax(1);
  const Tensor z = at::tensor(label, at::kLong).to(logp.device()).unsqueeze(1);
  const Tensor loss = -logp.gather(1, z).squeeze(1);
  if (!options_.train_on_last_step_only) return {{loss, Per::judged_step, 1}};
  return {{loss * at::tensor(counted, at::kDouble).to(logp.device()), Per::sequence, 1}};
}

}  // namespace luce
