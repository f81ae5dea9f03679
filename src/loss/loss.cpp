#include "luce/loss/loss.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "luce/base/error.h"

namespace luce {
namespace {

Tensor lengths_of(const std::vector<int64_t>& offset) {
  std::vector<double> lengths;
  for (size_t c = 0; c + 1 < offset.size(); ++c)
    lengths.push_back(static_cast<double>(offset[c + 1] - offset[c]));
  return at::tensor(lengths, at::kDouble);
}

}  // namespace

Tensor TokenValues::sum() const {
  const auto completions = static_cast<int64_t>(offset.size()) - 1;
  std::vector<int64_t> owner(static_cast<size_t>(offset.back()));
  for (size_t c = 0; c + 1 < offset.size(); ++c)
    std::fill(owner.begin() + offset[c], owner.begin() + offset[c + 1], static_cast<int64_t>(c));
  const Tensor index = at::tensor(owner, at::kLong).to(values.device());
  return at::zeros({completions}, values.options().dtype(at::kDouble))
      .index_add(0, index, values.to(at::kDouble));
}

Tensor TokenValues::mean() const { return sum() / length().clamp_min(1); }

Tensor TokenValues::length() const { return lengths_of(offset).to(values.device()); }

double Totals::of(Per per) const {
  switch (per) {
    case Per::item:
      return items;
    case Per::chosen_token:
      return chosen_tokens;
    case Per::token:
      return tokens;
    case Per::sequence:
      return sequences;
  }
  throw ArgumentError("[Totals] unknown kind of term");
}

Totals totals_of(const std::vector<const Example*>& rows) {
  Totals t;
  for (const Example* row : rows) {
    t.items += 1;
    for (size_t k = 0; k < row->completions.size(); ++k) {
      const auto tokens = static_cast<double>(row->completions[k].size());
      t.tokens += tokens;
      t.sequences += 1;
      if (role_of(k) == Role::chosen) t.chosen_tokens += tokens;
    }
  }
  return t;
}

Tensor GroupInputs::with_role(Role wanted) const {
  std::vector<int64_t> out;
  for (size_t c = 0; c < role.size(); ++c)
    if (role[c] == wanted) out.push_back(static_cast<int64_t>(c));
  return at::tensor(out, at::kLong).to(logps.values.device());
}

Pair<Tensor> PairInputs::log_ratio() const {
  if (!ref_logps) throw ArgumentError("[PairInputs] log_ratio needs the reference's log-probs");
  return {logps.chosen - ref_logps->chosen, logps.rejected - ref_logps->rejected};
}

Terms PairLoss::operator()(const GroupInputs& x, Metrics& metrics) const {
  const Tensor w = x.with_role(Role::chosen), l = x.with_role(Role::rejected);
  if (w.numel() != l.numel() || w.numel() + 1 != static_cast<int64_t>(x.group.size()))
    throw ArgumentError(
        cat("[PairLoss] every group must hold one chosen and one rejected answer; got ", w.numel(),
            " chosen and ", l.numel(), " rejected in ", x.group.size() - 1, " groups"));
  const auto split = [&](const Tensor& all) {
    return Pair<Tensor>{all.index_select(0, w), all.index_select(0, l)};
  };
  PairInputs pair{split(x.logps.sum()), split(x.logps.mean()), split(x.logps.length()), {}, {}};
  if (x.ref_logps) {
    pair.ref_logps = split(x.ref_logps->sum());
    pair.ref_mean_logps = split(x.ref_logps->mean());
  }
  return {{(*this)(pair, metrics), Per::item, 1}};
}

Needs LossMix::needs() const {
  Needs all{.couples = Coupling::token};
  for (const auto& part : parts_) {
    all.reference |= part.loss->needs().reference;
    all.couples = std::max(all.couples, part.loss->needs().couples);
  }
  return all;
}

double LossMix::reward_scale() const {
  for (const auto& part : parts_)
    if (part.loss->needs().reference) return part.loss->reward_scale();
  return 1;
}

Terms LossMix::operator()(const GroupInputs& inputs, Metrics& metrics) const {
  Terms all;
  for (const auto& part : parts_)
    for (Term& term : (*part.loss)(inputs, metrics)) {
      term.weight *= part.weight;
      all.push_back(std::move(term));
    }
  return all;
}

Tensor reduce(const Terms& terms, const Totals& totals) {
  Tensor total;
  for (const auto& term : terms) {
    const Tensor value = term.value.to(at::kDouble).sum() * (term.weight / totals.of(term.per));
    total = total.defined() ? total + value : value;
  }
  if (!total.defined()) throw ArgumentError("[reduce] a loss must return at least one term");
  return total;
}

}  // namespace luce
