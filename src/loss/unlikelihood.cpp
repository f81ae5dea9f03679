// Unlikelihood training, arXiv:1908.04319
//   sequence  ℓ = NLL(y⁺) − α (1/T⁻) Σ_t max(log(1 − π(y⁻_t)), floor)
//   token     ℓ = NLL(y⁺) − α (1/T⁺) Σ_t Σ_{c ∈ C_t} max(log(1 − π(c)), floor)          eq. 5
//             C_t: the tokens before t, each once, without y⁺_t
//   plain     ℓ = −log π(y⁺) + α Σ_t max(log π(y⁻_t), floor)      a difference of log-likelihoods
// T⁺, T⁻: tokens of the chosen and the rejected answers of the step. Below the floor there is no
// gradient: the plain form has no minimum without it, and log(1 − π) none at π = 1.
#include "luce/loss/unlikelihood.h"

#include <ATen/ATen.h>

#include <set>

#include "luce/base/error.h"
#include "luce/loss/log1mexp.h"

namespace luce {

namespace {

/// max(x, floor) over the tokens of answers with a role.
Tensor floored(const GroupInputs& x, const Tensor& values, Role role, double floor) {
  const TokenValues tokens{values.clamp_min(floor), x.logps.offset};
  return tokens.sum().index_select(0, x.with_role(role));
}

}  // namespace

void describe(Schema& s, UnlikelihoodOptions& o) {
  s.field("form", o.form,
          "what is made unlikely: the rejected answer (sequence, plain) or tokens "
          "that were there before (token)")
      .one_of({"sequence", "token", "plain"});
  s.field("alpha", o.alpha, "weight of unlikelihood beside likelihood").above(0);
  s.field("floor", o.floor, "least value of a token's logarithm, nats; no gradient below").below(0);
  s.field("context", o.context, "where the candidates of the form token come from")
      .one_of({"all", "completion"});
  s.field("include_gold", o.include_gold,
          "let the token itself be a candidate where it stood before, too");
}

LossInfo Unlikelihood::info() {
  return {.name = "unlikelihood",
          .aliases = {},
          .title = "Unlikelihood",
          .paper = "Welleck et al. 2019, arXiv:1908.04319",
          .formula =
              "sequence: loss = NLL(y+) - alpha/T- * sum_t log(1 - pi(y-_t))\n"
              "token:    loss = NLL(y+) - alpha/T+ * sum_t sum_{c in C_t} log(1 - "
              "pi(c))\n"
              "plain:    loss = -log pi(y+) + alpha * sum_t max(log pi(y-_t), floor)",
          .notes =
              "C_t are the tokens before t, each once, without the token at t itself. "
              "Logarithms are floored: the plain form has no minimum otherwise. No "
              "reference. The form token learns from any rows; the others from pairs.",
          .weights =
              "chosen 1 (per token, or per answer in the plain form), rejected p/(1-p) "
              "per token; plain alpha"};
}

Needs Unlikelihood::needs() const {
  return {.couples = Coupling::token, .candidates = options_.form == "token"};
}

Terms Unlikelihood::operator()(const GroupInputs& x, Metrics& metrics) const {
  const auto& [form, alpha, floor, context, include_gold] = options_;
  const Tensor chosen = x.logps.sum().index_select(0, x.with_role(Role::chosen));
  if (form == "plain")
    return {{-chosen, Per::item, 1},
            {floored(x, x.logps.values, Role::rejected, floor), Per::item, alpha}};
  Terms terms{{-chosen, Per::chosen_token, 1}};
  if (form == "sequence") {
    const Tensor unlikely = log1mexp(x.logps.values.to(at::kDouble));
    terms.push_back({-floored(x, unlikely, Role::rejected, floor), Per::rejected_token, alpha});
  } else {
    if (!x.candidates) throw ArgumentError("[Unlikelihood] needs log-probs of candidate tokens");
    const Tensor unlikely = log1mexp(x.candidates->logps.to(at::kDouble)).clamp_min(floor);
    metrics.add("unlikelihood/candidates", static_cast<double>(unlikely.numel()),
                static_cast<double>(x.logps.values.numel()));
    terms.push_back({-unlikely, Per::chosen_token, alpha});
  }
  return terms;
}

void Unlikelihood::candidates(const Example& row, size_t completion,
                              std::vector<std::vector<int64_t>>& tokens) const {
  if (row.role(completion) != Role::chosen) return;
  std::set<int64_t> before;
  if (options_.context == "all") before.insert(row.prompt.begin(), row.prompt.end());
  const auto& answer = row.completions[completion];
  for (size_t t = 0; t < answer.size(); ++t) {
    for (const int64_t c : before)
      if (c != answer[t] || options_.include_gold) tokens[t].push_back(c);
    before.insert(answer[t]);
  }
}

}  // namespace luce
