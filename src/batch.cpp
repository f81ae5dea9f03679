#include "luce/batch.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"

namespace luce {

std::vector<TreeSegment> Batch::segments() const {
  std::vector<TreeSegment> out;
  out.reserve(prompts.size() + completions.size());
  for (const auto& p : prompts) out.push_back({p.begin, p.length, 0, 0});
  for (size_t c = 0; c < completions.size(); ++c) {
    const auto& p = prompts[static_cast<size_t>(parent[c])];
    if (completions[c].length > 0)
      out.push_back({completions[c].begin, completions[c].length, p.begin, p.length});
  }
  return out;
}

std::vector<int64_t> Batch::units(Coupling coupling) const {
  if (coupling == Coupling::step) return {0, num_targets()};
  if (coupling == Coupling::sequence) return offset;
  std::vector<int64_t> out;
  if (coupling == Coupling::token) {
    for (int64_t m = 0; m <= num_targets(); ++m) out.push_back(m);
    return out;
  }
  out.reserve(group.size());
  for (const int64_t first : group) out.push_back(offset[static_cast<size_t>(first)]);
  return out;
}

Batch Batch::to(const c10::Device& device) const {
  Batch out = *this;
  for (Tensor* t : {&out.tokens, &out.positions, &out.targets, &out.head_rows, &out.own_rows})
    if (t->defined()) *t = t->to(device);
  return out;
}

int64_t rows_of(const Example& example, const BatchOptions& options) {
  const auto p = static_cast<int64_t>(example.prompt.size());
  int64_t rows = options.prefix_sharing ? p : p * static_cast<int64_t>(example.completions.size());
  for (const auto& c : example.completions)
    rows += std::max<int64_t>(0, static_cast<int64_t>(c.size()) - (options.own_rows ? 0 : 1));
  return rows;
}

Batch make_batch(const std::vector<const Example*>& examples, const BatchOptions& options) {
  Batch b;
  std::vector<int64_t> tokens, positions, targets, head_rows, own_rows;
  b.offset = {0};
  b.group = {0};
  const auto append = [&](const std::vector<int64_t>& ids, size_t count, int64_t position) {
    const Segment s{static_cast<int64_t>(tokens.size()), static_cast<int64_t>(count)};
    for (size_t i = 0; i < count; ++i) {
      tokens.push_back(ids[i]);
      positions.push_back(position + static_cast<int64_t>(i));
    }
    return s;
  };
  for (const Example* example : examples) {
    if (example->prompt.empty() || example->completions.empty())
      throw ArgumentError(cat("[make_batch] row ", example->row,
                              " needs at least one prompt token and one completion"));
    const auto p = static_cast<int64_t>(example->prompt.size());
    for (size_t k = 0; k < example->completions.size(); ++k) {
      const auto& answer = example->completions[k];
      if (k == 0 || !options.prefix_sharing)
        b.prompts.push_back(append(example->prompt, example->prompt.size(), 0));
      const Segment& prompt = b.prompts.back();
      const size_t run = options.own_rows || answer.empty() ? answer.size() : answer.size() - 1;
      const Segment own = append(answer, run, p);
      b.completions.push_back(own);
      b.parent.push_back(static_cast<int64_t>(b.prompts.size()) - 1);
      b.role.push_back(example->role(k));
      b.columns.score.push_back(k < example->scores.size() ? example->scores[k] : NAN);
      b.columns.steps.push_back(k == 0 ? example->steps : std::vector<StepLabel>());
      for (size_t j = 0; j < answer.size(); ++j) {
        targets.push_back(answer[j]);
        // The prompt's last row predicts the first token of every answer.
        head_rows.push_back(j == 0 ? prompt.begin + prompt.length - 1
                                   : own.begin + static_cast<int64_t>(j) - 1);
        own_rows.push_back(own.begin + static_cast<int64_t>(j));
      }
      b.offset.push_back(static_cast<int64_t>(targets.size()));
      b.num_tokens += p + static_cast<int64_t>(answer.size());
    }
    b.group.push_back(static_cast<int64_t>(b.completions.size()));
    b.row.push_back(example->row);
    b.columns.margin.push_back(example->margin);
    b.columns.preference.push_back(example->preference);
    b.columns.rater.push_back(example->rater);
  }
  b.tokens = at::tensor(tokens, at::kLong);
  b.positions = at::tensor(positions, at::kLong);
  b.targets = at::tensor(targets, at::kLong);
  b.head_rows = at::tensor(head_rows, at::kLong);
  if (options.own_rows) b.own_rows = at::tensor(own_rows, at::kLong);
  return b;
}

}  // namespace luce
