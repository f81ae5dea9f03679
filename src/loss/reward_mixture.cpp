// A mixture of K Bradley-Terry raters (MaxMin-RLHF, Chakraborty et al., arXiv:2402.08925 §4) by
// expectation maximisation: P(y⁺ ≻ y⁻) = Σ_k α_k σ(Δ_k), Δ_k = r_k(y⁺) − r_k(y⁻)
//   E  γ_k ∝ α_k Π σ(Δ_k) over the rater's pairs of the step, without a gradient
//   M  ℓ = −Σ_k γ_k log σ(Δ_k) a pair;   α ← mean γ over the step's pairs, smoothed by a prior
//   count
#include "luce/loss/reward_mixture.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "luce/base/error.h"
#include "luce/loss/mixture.h"

namespace luce {
namespace {

RaterEvidence evidence(const ScoreInputs& x) {
  const Tensor margins = (x.with_role(Role::chosen) - x.with_role(Role::rejected)).to(at::kDouble);
  std::vector<int64_t> rater = x.columns.rater;
  rater.resize(static_cast<size_t>(x.num_groups()), -1);
  return {margins, rater};
}

}  // namespace

void describe(Schema& s, RewardMixtureOptions& o) {
  s.field("prior", o.prior, "pairs that each head is taken to have won before the step").above(0);
}

RewardLossInfo RewardMixture::info() {
  return {.name = "mixture",
          .title = "Mixture of raters",
          .paper = "Chakraborty et al. 2024, arXiv:2402.08925 (MaxMin-RLHF), section 4",
          .formula =
              "gamma_k ~ alpha_k * product over the rater's pairs of sigmoid(delta_k)\n"
              "loss = -sum_k gamma_k log sigmoid(delta_k);  alpha = mean gamma",
          .notes =
              "Needs head.count of 2 or more, and rows that name their rater. The loss couples the "
              "step: choose a batch_size that holds several pairs of a rater."};
}

void RewardMixture::check_rows(const std::vector<Example>& train) const {
  if (std::none_of(train.begin(), train.end(), [](const Example& row) { return row.rater >= 0; }))
    throw DataError(
        "mixture: no row names its rater in the column \"rater\"; without names every pair is a "
        "rater of its own, and kinds of raters cannot be told apart");
}

Tensor RewardMixture::gamma(const ScoreInputs& x) const {
  const int64_t heads = x.scores.size(1);
  const Tensor alpha = alpha_.empty()
                           ? at::full({heads}, 1.0 / static_cast<double>(heads), at::kDouble)
                           : at::tensor(alpha_, at::kDouble);
  return responsibilities(evidence(x), alpha.to(x.scores.device()));
}

void RewardMixture::observe(const ScoreInputs& x) {
  const Tensor mass = gamma(x).sum(0) + options_.prior;
  const Tensor alpha = (mass / mass.sum()).to(at::kCPU).contiguous();
  alpha_.assign(alpha.const_data_ptr<double>(), alpha.const_data_ptr<double>() + alpha.numel());
}

Terms RewardMixture::operator()(const ScoreInputs& x, Metrics& metrics) const {
  for (size_t k = 0; k < alpha_.size(); ++k) metrics.add(cat("raters/share_", k), alpha_[k], 1);
  return {{mixture_loss(evidence(x), gamma(x)), Per::item, 1}};
}

Json RewardMixture::state() const { return {{"alpha", alpha_}}; }

void RewardMixture::load_state(const Json& state) {
  if (!state.is_object() || !state.contains("alpha") || !state["alpha"].is_array())
    throw DataError(cat("the checkpoint holds no shares of raters: ", state.dump()));
  alpha_ = state["alpha"].get<std::vector<double>>();
}

}  // namespace luce
