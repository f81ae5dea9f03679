#include "luce/train/displacement.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "luce/base/error.h"
#include "luce/loss/loss.h"
#include "luce/ops/head.h"
#include "luce/train/row_steps.h"
#include "rl/batches.h"

namespace luce {
namespace {

/// Calls fn(batch, hidden states behind its targets) for rows in parts of so many tokens.
template <class Fn>
void for_hidden(const CausalLM& model, const RowList& rows, int64_t tokens, const Fn& fn) {
  const at::NoGradGuard no_grad;
  for_batches(rows, tokens, {}, [&](const Batch& made) {
    const Batch batch = made.to(model.options().device);
    fn(batch, target_hidden(model, batch));
  });
}

/// The answers of a row that are chosen and rejected.
std::pair<size_t, size_t> pair_of(const Example& row) {
  size_t chosen = SIZE_MAX, rejected = SIZE_MAX;
  for (size_t k = 0; k < row.completions.size(); ++k) {
    if (row.role(k) == Role::chosen) chosen = k;
    if (row.role(k) == Role::rejected) rejected = k;
  }
  if (chosen == SIZE_MAX || rejected == SIZE_MAX)
    throw ArgumentError(
        cat("[displacement] row ", row.row, " is no pair of a chosen and a ", "rejected answer"));
  return {chosen, rejected};
}

/// softmax of the logits of some hidden states, [M, V] f64 on the CPU.
Tensor distribution(const CausalLM& model, const Tensor& hidden) {
  const Logits logits = head_logits(hidden, model.head_weight());
  return (logits.values - logits.lse.unsqueeze(1)).to(at::kCPU, at::kDouble).exp().contiguous();
}

}  // namespace

std::vector<Ches> ches(const CausalLM& model, const RowList& pairs, int64_t micro_batch_tokens) {
  std::vector<Ches> out;
  for_hidden(model, pairs, micro_batch_tokens, [&](const Batch& batch, const Tensor& hidden) {
    const auto answers = static_cast<int64_t>(batch.completions.size());
    std::vector<int64_t> owner(static_cast<size_t>(batch.num_targets()));
    for (size_t c = 0; c + 1 < batch.offset.size(); ++c)
      std::fill(owner.begin() + batch.offset[c], owner.begin() + batch.offset[c + 1],
                static_cast<int64_t>(c));
    const Tensor wide = hidden.to(at::kDouble);
    const Tensor sums = at::zeros({answers, wide.size(1)}, wide.options())
                            .index_add(0, at::tensor(owner, at::kLong).to(wide.device()), wide)
                            .to(at::kCPU);  // H [C, D]
    for (size_t q = 0; q + 1 < batch.group.size(); ++q) {
      const auto [w, l] = pair_of(*pairs[out.size()]);
      const int64_t first = batch.group[q];
      const auto at_answer = [&](size_t k) { return first + static_cast<int64_t>(k); };
      const auto length = [&](size_t k) {
        const auto c = static_cast<size_t>(at_answer(k));
        return static_cast<double>(std::max<int64_t>(1, batch.offset[c + 1] - batch.offset[c]));
      };
      const Tensor h_w = sums[at_answer(w)], h_l = sums[at_answer(l)];
      const double cross = h_w.dot(h_l).item<double>(), own = h_w.dot(h_w).item<double>();
      out.push_back({cross - own, cross / (length(w) * length(l)) - own / (length(w) * length(w))});
    }
  });
  return out;
}

DisplacementProbe::DisplacementProbe(const CausalLM& start, std::vector<Example> pairs,
                                     int64_t micro_batch_tokens)
    : pairs_(std::move(pairs)), micro_batch_tokens_(micro_batch_tokens), start_(start.clone()) {
  for (const auto& row : pairs_) pair_of(row);
  start_logps_ = logps(start);
}

std::vector<double> DisplacementProbe::logps(const CausalLM& model) const {
  std::vector<double> out;
  for_hidden(
      model, pointers(pairs_), micro_batch_tokens_, [&](const Batch& batch, const Tensor& hidden) {
        const auto stats = head(hidden, model.head_weight(), batch.targets, {});
        const Tensor sums = TokenValues{stats.logps, batch.offset}.sum().to(at::kCPU).contiguous();
        out.insert(out.end(), sums.const_data_ptr<double>(),
                   sums.const_data_ptr<double>() + sums.numel());
      });
  return out;
}

std::vector<PairShift> DisplacementProbe::shifts(const CausalLM& now) const {
  const auto after = logps(now);
  std::vector<PairShift> out;
  size_t first = 0;
  for (const auto& row : pairs_) {
    const auto [w, l] = pair_of(row);
    out.push_back({row.row, after[first + w] - start_logps_[first + w],
                   after[first + l] - start_logps_[first + l]});
    first += row.completions.size();
  }
  return out;
}

std::vector<PlaceShift> DisplacementProbe::gains(const CausalLM& now, int64_t k) const {
  std::vector<Tensor> before;
  for_hidden(*start_, pointers(pairs_), micro_batch_tokens_,
             [&](const Batch&, const Tensor& hidden) { before.push_back(hidden); });
  std::vector<PlaceShift> out;
  size_t part = 0, row = 0;
  for_hidden(
      now, pointers(pairs_), micro_batch_tokens_, [&](const Batch& batch, const Tensor& hidden) {
        const Tensor& start_hidden = before[part++];
        const Tensor targets = batch.targets.to(at::kCPU).contiguous();
        for (size_t q = 0; q + 1 < batch.group.size(); ++q, ++row) {
          const auto [w, l] = pair_of(pairs_[row]);
          for (const size_t answer : {w, l}) {
            const auto c = static_cast<size_t>(batch.group[q]) + answer;
            const int64_t begin = batch.offset[c], length = batch.offset[c + 1] - begin;
            // One answer's distributions exist at a time.
            const Tensor p = distribution(*start_, start_hidden.narrow(0, begin, length));
            const Tensor p_now = distribution(now, hidden.narrow(0, begin, length));
            const auto [gain, token] = (p_now - p).topk(std::min(k, p.size(1)), 1);
            for (int64_t t = 0; t < length; ++t) {
              const int64_t target = targets[begin + t].item<int64_t>();
              PlaceShift place{.row = pairs_[row].row,
                               .place = t,
                               .target = target,
                               .chosen = answer == w,
                               .before = p[t][target].item<double>(),
                               .after = p_now[t][target].item<double>(),
                               .gains = {}};
              for (int64_t i = 0; i < token.size(1); ++i) {
                const int64_t id = token[t][i].item<int64_t>();
                place.gains.push_back({id, p[t][id].item<double>(), p_now[t][id].item<double>()});
              }
              out.push_back(std::move(place));
            }
          }
        }
      });
  return out;
}

void DisplacementProbe::record(const CausalLM& now, Metrics& metrics) const {
  for (const PairShift& shift : shifts(now)) {
    metrics.add("displacement/chosen", shift.chosen, 1);
    metrics.add("displacement/rejected", shift.rejected, 1);
    metrics.add("displacement/both_fell", shift.both_fell() ? 1 : 0, 1);
  }
}

}  // namespace luce
