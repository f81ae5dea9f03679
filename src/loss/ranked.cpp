#include "luce/loss/ranked.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"

namespace luce {
namespace {

double score_of(const GroupInputs& x, size_t completion) {
  const auto& given = x.columns.score;
  if (completion < given.size() && !std::isnan(given[completion])) return given[completion];
  if (x.role[completion] == Role::ranked)
    throw DataError("a ranked answer has no score; ranked rows need \"ranks\" or \"scores\"");
  return x.role[completion] == Role::chosen ? 1 : 0;
}

}  // namespace

Tensor RankedInputs::log_ratio() const { return ref_logps.defined() ? logps - ref_logps : logps; }

RankedInputs ranked_inputs(const GroupInputs& x) {
  std::vector<std::vector<int64_t>> groups;  // completions, best first
  std::vector<double> score(x.role.size());
  const auto group_of = x.group_of();
  groups.resize(static_cast<size_t>(x.num_groups()));
  size_t width = 1;
  for (size_t c = 0; c < x.role.size(); ++c) {
    if (x.role[c] == Role::gold || x.role[c] == Role::mismatched) continue;
    score[c] = score_of(x, c);
    auto& group = groups[static_cast<size_t>(group_of[c])];
    group.push_back(static_cast<int64_t>(c));
    width = std::max(width, group.size());
  }
  const auto completions = static_cast<int64_t>(x.role.size());
  // Index `completions` is a row of zeros that fills the places beyond a group's end.
  std::vector<int64_t> index;
  std::vector<double> scores, here;
  for (auto& group : groups) {
    std::stable_sort(group.begin(), group.end(), [&](int64_t a, int64_t b) {
      return score[static_cast<size_t>(a)] > score[static_cast<size_t>(b)];
    });
    for (size_t k = 0; k < width; ++k) {
      const bool in = k < group.size();
      index.push_back(in ? group[k] : completions);
      scores.push_back(in ? score[static_cast<size_t>(group[k])] : 0);
      here.push_back(in ? 1 : 0);
    }
  }
  const auto shape = {x.num_groups(), static_cast<int64_t>(width)};
  const auto device = x.logps.values.device();
  const Tensor at_index = at::tensor(index, at::kLong).to(device);
  const auto laid_out = [&](const TokenValues& tokens) {
    const Tensor sums = tokens.sum();
    return at::cat({sums, at::zeros({1}, sums.options())}).index_select(0, at_index).view(shape);
  };
  RankedInputs out;
  out.logps = laid_out(x.logps);
  if (x.ref_logps) out.ref_logps = laid_out(*x.ref_logps);
  out.score = at::tensor(scores, at::kDouble).to(device).view(shape);
  out.here = at::tensor(here, at::kDouble).to(device).view(shape);
  return out;
}

Terms RankedLoss::operator()(const GroupInputs& x, Metrics& metrics) const {
  const Tensor value = values(ranked_inputs(x), metrics);
  if (!value.defined() || value.dim() != 1 || value.size(0) != x.num_groups())
    throw ArgumentError(cat("[RankedLoss] a loss must return one value a group, of shape [",
                            x.num_groups(), "]; got ", value.defined() ? shown(value) : "none"));
  return {{value, Per::item, 1}};
}

}  // namespace luce
