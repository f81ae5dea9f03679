#include "luce/loss/reward.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"
#include "luce/data/judgements.h"

namespace luce {

GroupInputs ScoreInputs::of_head(int64_t head) const {
  GroupInputs out;
  out.logps = {scores.select(1, head), offset};
  out.role = role;
  out.group = group;
  out.columns = columns;
  return out;
}

Tensor ScoreInputs::last() const {
  std::vector<int64_t> places;
  for (size_t c = 0; c + 1 < offset.size(); ++c) places.push_back(offset[c + 1] - 1);
  return scores.index_select(0, at::tensor(places, at::kLong).to(scores.device()));
}

Tensor ScoreInputs::with_role(Role wanted) const {
  std::vector<int64_t> places;
  for (size_t q = 0; q + 1 < group.size(); ++q) {
    const size_t before = places.size();
    for (int64_t c = group[q]; c < group[q + 1]; ++c)
      if (role[static_cast<size_t>(c)] == wanted)
        places.push_back(offset[static_cast<size_t>(c) + 1] - 1);
    if (places.size() != before + 1)
      throw DataError(cat("a row has ", places.size() - before, " ", name_of(wanted),
                          " answers where a pair has one"));
  }
  return scores.index_select(0, at::tensor(places, at::kLong).to(scores.device()));
}

Term over_heads(const Tensor& values, const ScoreInputs& x, Per per) {
  if (!x.share.defined()) return {values.mean(1), per, 1};
  Tensor share = x.share;
  if (per != Per::item) {  // one row an answer
    std::vector<int64_t> group_of;
    for (int64_t q = 0; q < x.num_groups(); ++q)
      group_of.resize(static_cast<size_t>(x.group[static_cast<size_t>(q) + 1]), q);
    share = share.index_select(0, at::tensor(group_of, at::kLong).to(share.device()));
  }
  return {(values * share).mean(1), per, 1};
}

void RewardLoss::load_state(const Json& state) {
  if (!state.is_null())
    throw DataError(cat("the checkpoint holds the state of another loss: ", state.dump()));
}

}  // namespace luce
