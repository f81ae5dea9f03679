// Raters that do not agree. A policy serves them all: with ℓ_k the mean dpo loss over rater k's
// pairs of the step, the soft maximum over the K raters is what is lowered
//   ℓ = τ log (1/K) Σ_k exp(ℓ_k / τ)      τ → ∞: the mean; τ → 0: the worst-served rater
// (MaxMin-RLHF, Chakraborty et al., arXiv:2402.08925, made smooth). Reward models learn one reward
// a rater type by expectation maximisation over P = Σ_k α_k σ(Δ_k) (the same paper, §4).
#include "luce/loss/mixture.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/loss/dpo.h"

namespace luce {

void describe(Schema& s, MixtureOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("tau", o.tau, "large: all raters count alike; small: the worst-served one counts")
      .above(0);
}

LossInfo Mixture::info() {
  return {.name = "mixture",
          .aliases = {},
          .title = "Mixture of preferences",
          .paper = "after Chakraborty et al. 2024, arXiv:2402.08925 (MaxMin-RLHF)",
          .formula =
              "l_k = mean dpo loss over the pairs of rater k\n"
              "loss = tau * log mean_k exp(l_k / tau)",
          .notes =
              "Rows name their rater in the column \"rater\". The loss couples the step: "
              "choose a batch_size that holds pairs of every rater. Raters of opposite "
              "taste cannot be told apart without their names.",
          .weights =
              "those of dpo, times the share of the pair's rater in the soft maximum "
              "over its number of pairs"};
}

Terms Mixture::operator()(const GroupInputs& x, Metrics& metrics) const {
  const Terms dpo = Dpo({.beta = options_.beta})(x, metrics);
  std::map<int64_t, std::vector<int64_t>> pairs_of;
  for (int64_t q = 0; q < x.num_groups(); ++q)
    pairs_of[x.columns.rater.empty() ? -1 : x.columns.rater[static_cast<size_t>(q)]].push_back(q);
  std::vector<Tensor> losses;
  for (const auto& [rater, pairs] : pairs_of) {
    const Tensor of = at::tensor(pairs, at::kLong).to(dpo.front().value.device());
    losses.push_back(dpo.front().value.index_select(0, of).mean());
  }
  const Tensor l = at::stack(losses);
  metrics.add("raters", static_cast<double>(losses.size()), 1);
  metrics.add("loss/worst_rater", l.max().item<double>(), 1);
  const double log_K = std::log(static_cast<double>(losses.size()));
  return {{options_.tau * ((l / options_.tau).logsumexp(0) - log_K), Per::step, 1}};
}

void Mixture::check_rows(const std::vector<Example>& train) const {
  const auto named =
      std::count_if(train.begin(), train.end(), [](const Example& row) { return row.rater >= 0; });
  if (named == 0)
    throw DataError(
        "mixture: no row names its rater in the column \"rater\"; raters of opposite taste give "
        "even odds on every pair, from which they cannot be told apart");
  if (named < static_cast<int64_t>(train.size()))
    log::warn("mixture: ", static_cast<int64_t>(train.size()) - named,
              " rows name no rater; they count as one rater more");
}

Tensor responsibilities(const RaterEvidence& evidence, const Tensor& alpha) {
  const Tensor likelihood = at::log_sigmoid(evidence.margins.detach());  // [P, K]
  const int64_t pairs = likelihood.size(0);
  std::map<int64_t, int64_t> index;
  std::vector<int64_t> owner;
  for (int64_t p = 0; p < pairs; ++p) {
    const int64_t rater = evidence.rater[static_cast<size_t>(p)];
    const int64_t key = rater >= 0 ? rater : -1 - p;
    owner.push_back(index.try_emplace(key, static_cast<int64_t>(index.size())).first->second);
  }
  const Tensor of = at::tensor(owner, at::kLong).to(likelihood.device());
  const Tensor sums =
      at::zeros({static_cast<int64_t>(index.size()), likelihood.size(1)}, likelihood.options())
          .index_add(0, of, likelihood);
  return (alpha.log() + sums).softmax(1).index_select(0, of);
}

Tensor mixture_loss(const RaterEvidence& evidence, const Tensor& gamma) {
  return -(gamma * at::log_sigmoid(evidence.margins)).sum(1);
}

}  // namespace luce
