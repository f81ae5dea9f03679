#include "train/loss_part.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace luce {
namespace {

int64_t at_index(const std::vector<int64_t>& v, int64_t i) { return v[static_cast<size_t>(i)]; }

/// [begin, end) of a column, or all of one that nobody filled in.
template <class T>
std::vector<T> slice(const std::vector<T>& v, int64_t begin, int64_t end) {
  if (v.empty()) return {};
  return {v.begin() + begin, v.begin() + end};
}

template <class T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// Appends offsets that begin at 0 behind those that are there.
void append_offsets(std::vector<int64_t>& to, const std::vector<int64_t>& from) {
  const int64_t base = to.back();
  for (size_t i = 1; i < from.size(); ++i) to.push_back(base + from[i]);
}

/// Completions of a range: of whole groups, or of what a loss that may be cut finer sees of them.
/// Of parts without targets, each goes with the one after it.
Range completions_of(const Batch& batch, Range range, Coupling cut) {
  const auto& offset = batch.offset;
  Range out{0, static_cast<int64_t>(batch.role.size())};
  if (cut >= Coupling::group) {
    const auto units = batch.units();
    const auto group_at = [&](int64_t target) {
      return std::lower_bound(units.begin(), units.end(), target) - units.begin();
    };
    out.begin = at_index(batch.group, group_at(range.begin));
    if (range.end < offset.back()) out.end = at_index(batch.group, group_at(range.end));
  } else {
    const auto first = std::lower_bound(offset.begin(), offset.end(), range.begin);
    out.begin = first - offset.begin() - (*first > range.begin ? 1 : 0);
    if (range.end < offset.back())
      out.end = std::lower_bound(offset.begin(), offset.end(), range.end) - offset.begin();
  }
  return out;
}

}  // namespace

LossPart part_of(const Batch& batch, const BatchValues& values, const HeadStats& stats, Range range,
                 Coupling cut) {
  const auto [c0, c1] = completions_of(batch, range, cut);
  LossPart out;
  auto& inputs = out.inputs;
  for (int64_t c = c0; c <= c1; ++c)
    inputs.logps.offset.push_back(std::clamp(at_index(batch.offset, c), range.begin, range.end) -
                                  range.begin);
  inputs.group.push_back(0);
  for (int64_t q = 0; q < batch.num_groups(); ++q) {
    const int64_t begin = std::max(at_index(batch.group, q), c0),
                  end = std::min(at_index(batch.group, q + 1), c1);
    if (begin >= end) continue;
    inputs.group.push_back(end - c0);
    out.rows.push_back(at_index(batch.row, q));
    const auto& all = batch.columns;
    append(inputs.columns.margin, slice(all.margin, q, q + 1));
    append(inputs.columns.preference, slice(all.preference, q, q + 1));
    append(inputs.columns.rater, slice(all.rater, q, q + 1));
  }
  inputs.role = slice(batch.role, c0, c1);
  inputs.columns.score = slice(batch.columns.score, c0, c1);
  inputs.columns.steps = slice(batch.columns.steps, c0, c1);
  inputs.logps.values = stats.logps.detach();
  const int64_t length = range.end - range.begin;
  if (values.ref_logps.defined())
    inputs.ref_logps = {values.ref_logps.narrow(0, range.begin, length), inputs.logps.offset};
  if (stats.log_sum_p2.defined()) inputs.log_sum_p2 = {stats.log_sum_p2, inputs.logps.offset};
  if (values.candidates != nullptr) {
    std::vector<int64_t> offset = slice(values.candidates->offset, range.begin, range.end + 1);
    const int64_t first = offset.front();
    for (auto& place : offset) place -= first;
    inputs.candidates = {stats.candidate_logps.detach(), std::move(offset)};
  }
  out.stats = stats;
  return out;
}

LossPart joined(const std::vector<LossPart>& parts) {
  LossPart out;
  auto& all = out.inputs;
  all.group = {0};
  all.logps.offset = {0};
  std::vector<int64_t> candidate_offset{0};
  std::vector<Tensor> logps, ref_logps, log_sum_p2, candidates;
  std::vector<HeadStats> stats;
  for (const LossPart& part : parts) {
    const auto& in = part.inputs;
    append_offsets(all.logps.offset, in.logps.offset);
    append_offsets(all.group, in.group);
    append(all.role, in.role);
    append(all.columns.margin, in.columns.margin);
    append(all.columns.preference, in.columns.preference);
    append(all.columns.rater, in.columns.rater);
    append(all.columns.score, in.columns.score);
    append(all.columns.steps, in.columns.steps);
    append(out.rows, part.rows);
    logps.push_back(in.logps.values);
    if (in.ref_logps) ref_logps.push_back(in.ref_logps->values);
    if (in.log_sum_p2) log_sum_p2.push_back(in.log_sum_p2->values);
    if (in.candidates) {
      candidates.push_back(in.candidates->logps);
      append_offsets(candidate_offset, in.candidates->offset);
    }
    stats.push_back(part.stats);
  }
  all.logps.values = at::cat(logps);
  if (!ref_logps.empty()) all.ref_logps = {at::cat(ref_logps), all.logps.offset};
  if (!log_sum_p2.empty()) all.log_sum_p2 = {at::cat(log_sum_p2), all.logps.offset};
  if (!candidates.empty()) all.candidates = {at::cat(candidates), candidate_offset};
  out.stats = joined_stats(stats);
  return out;
}

HeadGradients sliced(const HeadGradients& gradients, Range targets, Range candidates) {
  HeadGradients out;
  out.logps = gradients.logps.narrow(0, targets.begin, targets.end - targets.begin);
  if (gradients.candidate_logps.defined())
    out.candidate_logps =
        gradients.candidate_logps.narrow(0, candidates.begin, candidates.end - candidates.begin);
  return out;
}

}  // namespace luce
