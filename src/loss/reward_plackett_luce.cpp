// Plackett-Luce over K answers (Plackett 1975; Luce 1959; the K-wise reward model of Zhu et al.,
// arXiv:2301.11270 eq. 5), best first; K = 2 is Bradley-Terry
//   ranking  ℓ = −Σ_k [r_k − log Σ_{j ≥ k} e^{r_j}]      top1: the first summand alone
#include "luce/loss/reward_plackett_luce.h"

#include <ATen/ATen.h>

#include "luce/loss/plackett_luce.h"

namespace luce {

void describe(Schema& s, RewardPlackettLuceOptions& o) {
  s.field("form", o.form, "the whole ranking, or only which answer is best")
      .one_of({"ranking", "top1"});
}

RewardLossInfo RewardPlackettLuce::info() {
  return {.name = "plackett_luce",
          .aliases = {"pl"},
          .title = "Plackett-Luce reward model",
          .paper = "Plackett 1975; Zhu et al. 2023, arXiv:2301.11270, eq. 5",
          .formula = "loss = -sum_k [r_k - log sum_{j >= k} exp(r_j)], best first",
          .notes =
              "Learns from ranked rows, from scored rows of one prompt, and from pairs, where it "
              "is bradley_terry. Tied answers share their denominator."};
}

Terms RewardPlackettLuce::operator()(const ScoreInputs& x, Metrics&) const {
  std::vector<Tensor> of_heads;
  for (int64_t k = 0; k < x.scores.size(1); ++k) {
    const RankedInputs ranked = ranked_inputs(x.of_head(k));
    of_heads.push_back(plackett_luce(ranked.logps, ranked, options_.form == "top1"));
  }
  return {over_heads(at::stack(of_heads, 1), x)};
}

}  // namespace luce
