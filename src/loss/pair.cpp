#include "luce/loss/pair.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"

namespace luce {
namespace {

constexpr double kMaxExponent = 80;  // e^80 is finite in f32, and so is its gradient

Tensor column(const std::vector<double>& values, const Tensor& like) {
  return at::tensor(values, at::kDouble).to(like.device());
}

/// The tokens beyond the pair's shorter answer times `alpha` (LD-DPO, Liu et al.,
/// arXiv:2409.06411).
TokenValues ld_discounted(const TokenValues& tokens, const std::vector<int64_t>& group,
                          double alpha) {
  const auto& offset = tokens.offset;
  std::vector<double> weight(static_cast<size_t>(offset.back()), 1.0);
  const auto length = [&](int64_t c) {
    return offset[static_cast<size_t>(c) + 1] - offset[static_cast<size_t>(c)];
  };
  for (size_t q = 0; q + 1 < group.size(); ++q) {
    const int64_t shared = std::min(length(group[q]), length(group[q] + 1));
    for (int64_t c = group[q]; c < group[q + 1]; ++c)
      for (int64_t t = shared; t < length(c); ++t)
        weight[static_cast<size_t>(offset[static_cast<size_t>(c)] + t)] = alpha;
  }
  return {tokens.values.to(at::kDouble) * column(weight, tokens.values), offset};
}

PairInputs pair_inputs(const GroupInputs& x, const PairModifiers& modifiers, double scale) {
  const Tensor w = x.with_role(Role::chosen), l = x.with_role(Role::rejected);
  if (w.numel() != l.numel() || w.numel() != x.num_groups())
    throw ArgumentError(
        cat("[PairLoss] every group must hold one chosen and one rejected answer; got ", w.numel(),
            " chosen and ", l.numel(), " rejected in ", x.num_groups(), " groups"));
  const auto split = [&](const Tensor& all) {
    return Pair<Tensor>{all.index_select(0, w), all.index_select(0, l)};
  };
  const auto sum = [&](const TokenValues& tokens) {
    return split(modifiers.ld_alpha ? ld_discounted(tokens, x.group, *modifiers.ld_alpha).sum()
                                    : tokens.sum());
  };
  PairInputs pair;
  pair.f = modifiers.f;
  pair.length = split(x.logps.length());
  const auto mean = [&](const Pair<Tensor>& sums) {
    return Pair<Tensor>{sums.chosen / pair.length.chosen.clamp_min(1),
                        sums.rejected / pair.length.rejected.clamp_min(1)};
  };
  pair.logps = sum(x.logps);
  pair.mean_logps = mean(pair.logps);
  if (x.ref_logps) pair.ref_logps = sum(*x.ref_logps);
  if (modifiers.reference_free)
    pair.ref_logps = {at::zeros_like(pair.logps.chosen), at::zeros_like(pair.logps.rejected)};
  if (pair.ref_logps) pair.ref_mean_logps = mean(*pair.ref_logps);
  const auto& preference = x.columns.preference;
  if (std::any_of(preference.begin(), preference.end(), [](double p) { return p != 1; }))
    pair.preference = column(preference, pair.logps.chosen);
  const auto& margin = x.columns.margin;
  if (std::any_of(margin.begin(), margin.end(), [](double m) { return m != 0; })) {
    const Tensor off = column(margin, pair.logps.chosen) / scale;
    pair.shift.chosen = off;
    pair.logps.chosen = pair.logps.chosen - off;
    pair.mean_logps.chosen = pair.mean_logps.chosen - off;
  }
  return pair;
}

/// c_w c_l with c = exp(mean over tokens of log π(y_t) − log Σ_v π(v)²), without a gradient
/// (Zhou et al., arXiv:2406.11827, eq. 2).
Tensor wpo_weights(const GroupInputs& x) {
  if (!x.log_sum_p2) throw ArgumentError("[PairLoss] use_weighting needs log Σp² of every token");
  const Tensor c =
      TokenValues{x.logps.values.detach() - x.log_sum_p2->values, x.logps.offset}.mean().exp();
  return c.index_select(0, x.with_role(Role::chosen)) *
         c.index_select(0, x.with_role(Role::rejected));
}

/// Whether an f-divergence changes the loss at all: one is tried on two pairs.
bool reads_divergence(const PairLoss& loss) {
  const Tensor zero = at::zeros({2}, at::kDouble);
  const Tensor w = at::tensor({-3.0, -1.0}, at::kDouble), l = at::tensor({-1.5, -2.0}, at::kDouble);
  PairInputs pair{.logps = {w, l}, .mean_logps = {w / 2, l / 2}, .length = {zero + 2, zero + 2}};
  pair.ref_logps = pair.ref_mean_logps = {zero - 1, zero - 1};
  const at::NoGradGuard no_grad;
  Metrics unused;
  const Tensor plain = loss.values(pair, unused);
  pair.f.type = "forward_kl";
  return !at::equal(loss.values(pair, unused), plain);
}

Term nll(const GroupInputs& x, Role role, double weight) {
  return {-x.logps.sum().index_select(0, x.with_role(role)),
          role == Role::gold ? Per::gold_token : Per::chosen_token, weight};
}

}  // namespace

Tensor FDivergence::score(const Tensor& u) const {
  if (type == "forward_kl") return -at::expm1((-u).clamp_max(kMaxExponent));
  if (type == "js_divergence") return M_LN2 + at::log_sigmoid(u);
  if (type == "alpha_divergence" && std::abs(alpha - 1) >= 1e-6)
    return at::expm1(((alpha - 1) * u).clamp_max(kMaxExponent)) / (alpha - 1);
  return u;
}

Pair<Tensor> PairInputs::log_ratio() const {
  if (!ref_logps) throw ArgumentError("[PairInputs] log_ratio needs the reference's log-probs");
  return {logps.chosen - ref_logps->chosen, logps.rejected - ref_logps->rejected};
}

Pair<Tensor> PairInputs::score() const {
  const auto u = log_ratio();
  return {f.score(u.chosen), f.score(u.rejected)};
}

Pair<Tensor> PairInputs::mean_score() const {
  if (f.type == "reverse_kl" && ref_mean_logps)
    return {mean_logps.chosen - ref_mean_logps->chosen,
            mean_logps.rejected - ref_mean_logps->rejected};
  const auto u = log_ratio();
  const auto mean = [&](const Tensor& one, const Tensor& tokens, const Tensor& off) {
    if (!off.defined()) return f.score(one) / tokens.clamp_min(1);
    return f.score(one + off) / tokens.clamp_min(1) - off;
  };
  return {mean(u.chosen, length.chosen, shift.chosen),
          mean(u.rejected, length.rejected, shift.rejected)};
}

PairInputs PairInputs::swapped() const {
  PairInputs out = *this;
  for (Pair<Tensor>* p : {&out.logps, &out.mean_logps, &out.length, &out.shift})
    std::swap(p->chosen, p->rejected);
  for (auto* p : {&out.ref_logps, &out.ref_mean_logps})
    if (*p) std::swap((*p)->chosen, (*p)->rejected);
  return out;
}

bool PairModifiers::any() const {
  return f.type != "reverse_kl" || ld_alpha || use_weighting || reference_free || rpo_alpha != 0;
}

void describe(Schema& s, PairModifiers& o) {
  s.field("f_divergence_type", o.f.type, "what a log-ratio counts as; see f-divergences")
      .one_of({"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"});
  s.field("f_alpha_divergence_coef", o.f.alpha, "α of alpha_divergence");
  s.field("ld_alpha", o.ld_alpha,
          "weight of the tokens beyond the shorter answer's length (LD-DPO); null is 1")
      .at_least(0)
      .at_most(1);
  s.field("use_weighting", o.use_weighting,
          "weight pairs by how likely the policy itself would write them (WPO)");
  s.field("reference_free", o.reference_free, "take log π_ref as 0, and load no reference");
  s.field("rpo_alpha", o.rpo_alpha,
          "weight of the chosen answers' negative log-likelihood per token (RPO)")
      .at_least(0);
}

Terms PairLoss::operator()(const GroupInputs& x, Metrics& metrics) const {
  return (*this)(x, PairModifiers{}, metrics);
}

Terms PairLoss::operator()(const GroupInputs& x, const PairModifiers& modifiers,
                           Metrics& metrics) const {
  const PairInputs pair = pair_inputs(x, modifiers, reward_scale());
  const auto value_of = [&](const PairInputs& inputs) {
    const Tensor value = values(inputs, metrics);
    if (!value.defined() || value.sizes() != inputs.logps.chosen.sizes())
      throw ArgumentError(cat("[PairLoss] a loss must return one value a pair, of shape [",
                              x.num_groups(), "]; got ", value.defined() ? shown(value) : "none"));
    return value;
  };
  Tensor value = value_of(pair);
  if (pair.preference.defined() && !takes_preference()) {
    if (needs().couples == Coupling::step)
      throw DataError(
          "this loss compares the pairs of a step with each other and has no meaning for "
          "preferences between 0 and 1: leave out data.ratings and drop ties");
    const Tensor& p = pair.preference;
    value = p * value + (1 - p) * value_of(pair.swapped());
  }
  if (modifiers.use_weighting) value = value * wpo_weights(x);
  Terms terms{{value, Per::item, 1}};
  if (const double chosen = nll_weight() + modifiers.rpo_alpha; chosen != 0)
    terms.push_back(nll(x, Role::chosen, chosen));
  if (gold_nll_weight() != 0) terms.push_back(nll(x, Role::gold, gold_nll_weight()));
  return terms;
}

Pair<Tensor> gradient_weights(const PairLoss& loss, const PairInputs& pair) {
  const at::AutoGradMode grad(true);
  PairInputs leaf = pair;
  leaf.logps.chosen = pair.logps.chosen.detach().requires_grad_(true);
  leaf.logps.rejected = pair.logps.rejected.detach().requires_grad_(true);
  // The means move with the sums, and what was taken off them for a margin stays.
  const auto mean = [](const Tensor& moving, const Tensor& at_sum, const Tensor& at_mean,
                       const Tensor& length) {
    return at_mean.detach() + (moving - at_sum.detach()) / length.clamp_min(1);
  };
  leaf.mean_logps = {
      mean(leaf.logps.chosen, pair.logps.chosen, pair.mean_logps.chosen, pair.length.chosen),
      mean(leaf.logps.rejected, pair.logps.rejected, pair.mean_logps.rejected,
           pair.length.rejected)};
  Metrics unused;
  const auto g =
      torch::autograd::grad({loss.values(leaf, unused).sum()},
                            {leaf.logps.chosen, leaf.logps.rejected}, {}, {}, false, true);
  const auto or_zero = [](const Tensor& t, const Tensor& like) {
    return t.defined() ? t : at::zeros_like(like);
  };
  return {-or_zero(g[0], leaf.logps.chosen), or_zero(g[1], leaf.logps.rejected)};
}

ModifiedPairLoss::ModifiedPairLoss(std::unique_ptr<PairLoss> loss, const PairModifiers& modifiers)
    : loss_(std::move(loss)), modifiers_(modifiers) {
  const Needs inner = loss_->needs();
  if (!inner.reference && modifiers_.f.type != "reverse_kl")
    throw ArgumentError("f_divergence_type does nothing: this loss has no reference");
  if (!inner.reference && modifiers_.reference_free)
    throw ArgumentError("reference_free does nothing: this loss has no reference");
  if (modifiers_.f.type != "reverse_kl" && !reads_divergence(*loss_))
    throw ArgumentError("f_divergence_type does nothing: this loss compares plain log-ratios");
  if (!inner.divergences.empty() && modifiers_.reference_free)
    throw ArgumentError(
        "reference_free leaves out the reference whose divergence is a term of this loss");
  if (inner.couples == Coupling::step && modifiers_.use_weighting)
    throw ArgumentError(
        "use_weighting weights pairs, and the values of this loss belong to no single pair");
}

Needs ModifiedPairLoss::needs() const {
  Needs needs = loss_->needs();
  if (modifiers_.reference_free) needs.reference = false;
  needs.log_sum_p2 |= modifiers_.use_weighting;
  return needs;
}

Tensor ModifiedPairLoss::rewards(const GroupInputs& x) const {
  if (!modifiers_.ld_alpha) return loss_->rewards(x);
  GroupInputs discounted = x;  // rewards are of what the loss compares
  discounted.logps = ld_discounted(x.logps, x.group, *modifiers_.ld_alpha);
  if (x.ref_logps)
    discounted.ref_logps = ld_discounted(*x.ref_logps, x.group, *modifiers_.ld_alpha);
  return loss_->rewards(discounted);
}

Terms ModifiedPairLoss::operator()(const GroupInputs& inputs, Metrics& metrics) const {
  return (*loss_)(inputs, modifiers_, metrics);
}

}  // namespace luce
