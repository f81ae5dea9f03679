#include "luce/loss/mix.h"

#include <ATen/core/Tensor.h>

#include <algorithm>

#include "luce/base/error.h"

namespace luce {
namespace {

/// The rows that serve two losses. Preference rows serve all but those that need scores.
Rows common(Rows a, Rows b) {
  if (a == b || b == Rows::any) return a;
  if (a == Rows::any) return b;
  const auto are = [&](Rows one, Rows other) {
    return (a == one && b == other) || (a == other && b == one);
  };
  if (are(Rows::ranked, Rows::scored)) return Rows::scored;
  if (a != Rows::scored && b != Rows::scored) return Rows::pairs;
  throw ArgumentError("the losses of a mixture must learn from the same rows");
}

}  // namespace

LossMix::LossMix(std::vector<Part> parts) : parts_(std::move(parts)) {
  for (const auto& part : parts_) rows_ = common(rows_, part.loss->rows());
  const auto naming = std::count_if(parts_.begin(), parts_.end(),
                                    [](const Part& part) { return part.loss->needs().candidates; });
  if (naming > 1) throw ArgumentError("at most one loss of a mixture may ask for candidate tokens");
}

Needs LossMix::needs() const {
  Needs all{.couples = Coupling::token, .logps = false};
  for (const auto& part : parts_) {
    const Needs one = part.loss->needs();
    all.reference |= one.reference;
    all.couples = std::max(all.couples, one.couples);
    all.log_sum_p2 |= one.log_sum_p2;
    all.candidates |= one.candidates;
    all.gold |= one.gold;
    all.mismatched |= one.mismatched;
    all.logps |= one.logps;
    for (DivergenceTerm term : one.divergences) {
      term.weight *= part.weight;
      all.divergences.push_back(term);
    }
  }
  return all;
}

double LossMix::reward_scale() const {
  for (const auto& part : parts_)
    if (part.loss->needs().reference) return part.loss->reward_scale();
  return 1;
}

Tensor LossMix::rewards(const GroupInputs& inputs) const {
  for (const auto& part : parts_)
    if (Tensor rewards = part.loss->rewards(inputs); rewards.defined()) return rewards;
  return {};
}

Terms LossMix::operator()(const GroupInputs& inputs, Metrics& metrics) const {
  Terms all;
  for (const auto& part : parts_) {
    if (!part.loss->needs().logps) continue;
    for (Term& term : (*part.loss)(inputs, metrics)) {
      term.weight *= part.weight;
      all.push_back(std::move(term));
    }
  }
  return all;
}

void LossMix::check_rows(const std::vector<Example>& train) const {
  for (const auto& part : parts_) part.loss->check_rows(train);
}

void LossMix::candidates(const Example& row, size_t completion,
                         std::vector<std::vector<int64_t>>& tokens) const {
  for (const auto& part : parts_)
    if (part.loss->needs().candidates) part.loss->candidates(row, completion, tokens);
}

void LossMix::observe(const GroupInputs& step) {
  for (auto& part : parts_) part.loss->observe(step);
}

Json LossMix::state() const {
  Json all = Json::array();
  bool any = false;
  for (const auto& part : parts_) {
    all.push_back(part.loss->state());
    any |= !all.back().is_null();
  }
  return any ? all : Json(nullptr);
}

void LossMix::load_state(const Json& state) {
  if (state.is_null()) return;
  if (!state.is_array() || state.size() != parts_.size()) return SequenceLoss::load_state(state);
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i].loss->load_state(state[i]);
}

}  // namespace luce
