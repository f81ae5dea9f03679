// Odds ratio preference optimization, arXiv:2403.07691 eq. 6 and 7 (its λ is β here)
//   m = log π(y)/|y|, log odds = m − log(1 − e^m)
//   ℓ = −β log σ(log odds⁺ − log odds⁻), and the chosen answers' negative log-likelihood per token
#include "luce/loss/orpo.h"

#include <ATen/ATen.h>

#include "luce/loss/log1mexp.h"

namespace luce {

void describe(Schema& s, OrpoOptions& o) {
  s.field("beta", o.beta, "weight of the odds ratio beside the likelihood (the paper's lambda)")
      .above(0);
}

LossInfo Orpo::info() {
  return {.name = "orpo",
          .aliases = {},
          .title = "Odds ratio preference optimization",
          .paper = "Hong et al. 2024, arXiv:2403.07691, eq. 6 and 7",
          .formula =
              "m = log pi(y)/|y|, log odds = m - log(1 - e^m)\n"
              "loss = NLL(y+) - beta log sigmoid(log odds+ - log odds-)",
          .notes =
              "No reference. The likelihood is that of the chosen answers; TRL also "
              "scores the prompt.",
          .weights =
              "chosen beta sigmoid(-d) / (|y+| (1 - e^m+)), rejected the same of y-, d "
              "the difference of log odds; chosen with the likelihood term"};
}

namespace {

Tensor log_odds(const Tensor& log_p) { return log_p - log1mexp(log_p); }

}  // namespace

Tensor Orpo::values(const PairInputs& pair, Metrics&) const {
  const Tensor d = log_odds(pair.mean_logps.chosen) - log_odds(pair.mean_logps.rejected);
  return -options_.beta * at::log_sigmoid(d);
}

}  // namespace luce
