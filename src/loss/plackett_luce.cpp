// Plackett-Luce on log-ratios, arXiv:2305.18290 eq. 20 (appendix A.3); K = 2 is dpo
//   s_k = β u_k, best first
//   ranking  ℓ = −Σ_k [s_k − log Σ_{j ≥ k} e^{s_j}]      answers of one score share their sum over
//   top1     ℓ = −[s_1 − log Σ_j e^{s_j}]                all that are not better (Breslow)
#include "luce/loss/plackett_luce.h"

#include <ATen/ATen.h>

#include <cmath>

namespace luce {

void describe(Schema& s, PlackettLuceOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("form", o.form, "the whole ranking, or only which answer is best")
      .one_of({"ranking", "top1"});
}

LossInfo PlackettLuce::info() {
  return {.name = "plackett_luce",
          .aliases = {"pl"},
          .title = "Plackett-Luce",
          .paper =
              "Plackett 1975; on log-ratios Rafailov et al. 2023, arXiv:2305.18290, eq. "
              "20",
          .formula =
              "s_k = beta * u_k, best first\n"
              "loss = -sum_k [s_k - log sum_{j >= k} exp(s_j)]",
          .notes =
              "Learns from ranked rows, from scored rows of one prompt, and from pairs, "
              "where it is dpo. The form top1 keeps the first summand. Tied answers "
              "share their denominator.",
          .weights =
              "of answer k: beta (1 - sum over places i <= k of its share in the "
              "denominator of place i)"};
}

Tensor plackett_luce(const Tensor& s, const RankedInputs& x, bool top1) {
  // Answer j stands in the denominator of answer k where it is there and not better.
  const Tensor beside =
      x.score.unsqueeze(1).le(x.score.unsqueeze(2)).logical_and(x.here.unsqueeze(1).gt(0));
  const Tensor others =
      at::where(beside, s.unsqueeze(1), at::full({}, -INFINITY, s.options())).logsumexp(2);
  // Places without an answer have nothing in their sums; their gradient must not be 0 · ∞.
  const Tensor here = x.here.gt(0);
  const Tensor terms = at::where(here, at::where(here, others, s) - s, at::zeros_like(s));
  return top1 ? terms.select(1, 0) : terms.sum(1);
}

Tensor PlackettLuce::values(const RankedInputs& x, Metrics&) const {
  return plackett_luce(options_.beta * x.log_ratio(), x, options_.form == "top1");
}

}  // namespace luce
