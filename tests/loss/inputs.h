// Groups of answers for the tests of losses, written as lists of numbers.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <memory>
#include <string>
#include <vector>

#include "luce/loss/loss.h"
#include "luce/loss/registry.h"

namespace luce::test {

inline Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

/// The log-probs of an answer's tokens, and what else is known of them.
struct Answer {
  Role role = Role::chosen;
  std::vector<double> logps;
  std::vector<double> ref_logps = {};   // left out in all answers: there is no reference
  std::vector<double> log_sum_p2 = {};  // likewise
};
using Group = std::vector<Answer>;

/// An answer of n equal tokens with these sums.
inline Answer answer(Role role, double logp, double ref_logp, size_t tokens = 1) {
  const auto n = static_cast<double>(tokens);
  return {role, std::vector<double>(tokens, logp / n), std::vector<double>(tokens, ref_logp / n)};
}

inline Group pair_of(const Answer& chosen, const Answer& rejected) {
  Group group{chosen, rejected};
  group[0].role = Role::chosen;
  group[1].role = Role::rejected;
  return group;
}

/// The policy's log-probs are a leaf of `dtype` that takes a gradient.
inline GroupInputs inputs_of(const std::vector<Group>& groups, at::ScalarType dtype = at::kDouble) {
  GroupInputs x;
  x.group = {0};
  std::vector<double> logps, ref_logps, log_sum_p2;
  std::vector<int64_t> offset{0};
  const auto append = [](std::vector<double>& all, const std::vector<double>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const Group& group : groups) {
    for (const Answer& answer : group) {
      append(logps, answer.logps);
      append(ref_logps, answer.ref_logps);
      append(log_sum_p2, answer.log_sum_p2);
      offset.push_back(static_cast<int64_t>(logps.size()));
      x.role.push_back(answer.role);
    }
    x.group.push_back(static_cast<int64_t>(x.role.size()));
  }
  x.logps = {f64(logps).to(dtype).requires_grad_(true), offset};
  if (!ref_logps.empty()) x.ref_logps = TokenValues{f64(ref_logps).to(dtype), offset};
  if (!log_sum_p2.empty()) x.log_sum_p2 = TokenValues{f64(log_sum_p2).to(dtype), offset};
  return x;
}

/// The totals of a step that holds these groups alone.
inline Totals totals_in(const GroupInputs& x) {
  Totals t;
  t.items = static_cast<double>(x.num_groups());
  for (size_t c = 0; c < x.role.size(); ++c) {
    const auto tokens = static_cast<double>(x.logps.offset[c + 1] - x.logps.offset[c]);
    if (x.role[c] == Role::mismatched) continue;
    t.tokens += tokens;
    t.sequences += x.role[c] != Role::gold;
    if (x.role[c] == Role::chosen) t.chosen_tokens += tokens;
    if (x.role[c] == Role::rejected) t.rejected_tokens += tokens;
    if (x.role[c] == Role::gold) t.gold_tokens += tokens;
  }
  return t;
}

/// The loss of a step that holds these groups alone.
inline Tensor loss_of(const SequenceLoss& loss, const GroupInputs& x) {
  Metrics metrics;
  return reduce(loss(x, metrics), totals_in(x));
}

/// The unreduced values of the loss's first term.
inline Tensor values_of(const SequenceLoss& loss, const GroupInputs& x) {
  Metrics metrics;
  return loss(x, metrics).at(0).value;
}

/// ∂value/∂logps at every token; 0 where the value does not depend on them.
inline Tensor gradient_of(const Tensor& value, const Tensor& logps) {
  if (!value.requires_grad()) return at::zeros_like(logps);
  const Tensor g = torch::autograd::grad({value.sum()}, {logps}, {}, true, false, true)[0];
  return g.defined() ? g : at::zeros_like(logps);
}
inline Tensor gradient_of(const Tensor& value, const GroupInputs& x) {
  return gradient_of(value, x.logps.values);
}

/// The loss that a config's "loss" section makes.
inline std::unique_ptr<SequenceLoss> make_loss(const Json& section) {
  return Registry::with_builtins().make_loss(Document::of({{"loss", section}}, "test"));
}

}  // namespace luce::test
