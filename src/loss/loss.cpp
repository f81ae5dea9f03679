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
    case Per::rejected_token:
      return rejected_tokens;
    case Per::gold_token:
      return gold_tokens;
    case Per::judged_step:
      return judged_steps;
    case Per::step:
      return 1;
  }
  throw ArgumentError("[Totals] unknown kind of term");
}

Totals totals_of(const std::vector<const Example*>& rows) {
  Totals t;
  for (const Example* row : rows) {
    t.items += 1;
    t.judged_steps += static_cast<double>(row->steps.size());
    for (size_t k = 0; k < row->completions.size(); ++k) {
      const auto tokens = static_cast<double>(row->completions[k].size());
      const Role role = row->role(k);
      if (role == Role::mismatched) continue;
      t.tokens += tokens;
      if (role != Role::gold) t.sequences += 1;
      if (role == Role::chosen) t.chosen_tokens += tokens;
      if (role == Role::rejected) t.rejected_tokens += tokens;
      if (role == Role::gold) t.gold_tokens += tokens;
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

std::vector<int64_t> GroupInputs::group_of() const {
  std::vector<int64_t> out;
  for (int64_t q = 0; q < num_groups(); ++q)
    out.resize(static_cast<size_t>(group[static_cast<size_t>(q) + 1]), q);
  return out;
}

Tensor SequenceLoss::rewards(const GroupInputs& x) const {
  if (!x.ref_logps) return {};
  return scaled(x.logps.sum() - x.ref_logps->sum(), reward_scale());
}

Tensor scaled(const Tensor& values, double factor) { return factor * values.detach(); }

void SequenceLoss::load_state(const Json& state) {
  if (!state.is_null())
    throw DataError(cat("the checkpoint holds the state of another loss: ", state.dump()));
}

Tensor reduce(const Terms& terms, const Totals& totals) {
  Tensor total;
  for (const auto& term : terms) {
    const double divisor = totals.of(term.per);
    if (divisor == 0) continue;  // a step without such tokens: there is nothing to add
    const Tensor value = term.value.to(at::kDouble).sum() * (term.weight / divisor);
    total = total.defined() ? total + value : value;
  }
  if (terms.empty()) throw ArgumentError("[reduce] a loss must return at least one term");
  if (!total.defined()) total = at::zeros({}, at::kDouble);
  return total;
}

}  // namespace luce
