#include "luce/ops/head.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "luce/base/error.h"

namespace luce {
namespace {

int64_t rows_in_budget(const HeadOptions& options, const Tensor& weight, at::ScalarType type) {
  const int64_t row = weight.size(0) * static_cast<int64_t>(c10::elementSize(type));
  return std::max<int64_t>(1, options.chunk_bytes / std::max<int64_t>(1, row));
}

void check(const Tensor& hidden, const Tensor& weight, const Tensor& targets) {
  expect_dim(hidden, 2, "head", "hidden");
  expect_dim(weight, 2, "head", "weight");
  expect_dim(targets, 1, "head", "targets");
  if (hidden.size(1) != weight.size(1) || hidden.size(0) != targets.size(0) ||
      targets.scalar_type() != at::kLong)
    throw ArgumentError(
        cat("[head] expected hidden [M, D], weight [V, D] and i64 targets [M]; got ", shown(hidden),
            ", ", shown(weight), ", ", shown(targets)));
  if (targets.numel() > 0 &&
      (targets.min().item<int64_t>() < 0 || targets.max().item<int64_t>() >= weight.size(0)))
    throw ArgumentError(cat("[head] targets must lie in [0, ", weight.size(0),
                            "); got values from ", targets.min().item<int64_t>(), " to ",
                            targets.max().item<int64_t>()));
}

/// Logits in the statistics dtype: [rows, V].
Tensor logits_of(const Tensor& hidden, const Tensor& weight, at::ScalarType type) {
  return at::mm(hidden.to(type), weight.to(type).t());
}

struct ChunkStats {
  HeadStats stats;
  Tensor lse;  // [rows, 1]
};

ChunkStats statistics(const Tensor& logits, const Tensor& targets, const HeadOptions& options) {
  ChunkStats out;
  const Tensor at_target = logits.gather(1, targets.unsqueeze(1));
  out.lse = at::logsumexp(logits, 1, true);
  out.stats.logps = (at_target - out.lse).squeeze(1);
  if (options.entropy) {
    // H = log Z − Σ p z
    const Tensor p = (logits - out.lse).exp_();
    out.stats.entropy = out.lse.squeeze(1) - p.mul_(logits).sum(1);
  }
  if (options.greedy_match)
    out.stats.greedy_match = logits.argmax(1).eq(targets).to(logits.scalar_type());
  if (options.mean_logit) out.stats.mean_logit = logits.mean(1);
  return out;
}

HeadStats joined(const std::vector<HeadStats>& parts, const Tensor& like) {
  const auto join = [&](Tensor HeadStats::*member, bool asked) {
    if (!asked) return Tensor();
    std::vector<Tensor> tensors;
    for (const auto& part : parts) tensors.push_back(part.*member);
    return tensors.empty() ? at::empty({0}, like.options()) : at::cat(tensors);
  };
  const auto has = [&](Tensor HeadStats::*member) {
    return !parts.empty() && (parts.front().*member).defined();
  };
  return {join(&HeadStats::logps, true), join(&HeadStats::entropy, has(&HeadStats::entropy)),
          join(&HeadStats::greedy_match, has(&HeadStats::greedy_match)),
          join(&HeadStats::mean_logit, has(&HeadStats::mean_logit))};
}

}  // namespace

HeadStats head(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
               const HeadOptions& options) {
  const at::NoGradGuard no_grad;
  check(hidden, weight, targets);
  const auto type = statistics_type(hidden.scalar_type());
  const Tensor w = weight.to(type);
  const int64_t m = hidden.size(0), step = rows_in_budget(options, weight, type);
  std::vector<HeadStats> parts;
  for (int64_t begin = 0; begin < m; begin += step) {
    const int64_t n = std::min(step, m - begin);
    const Tensor z = logits_of(hidden.narrow(0, begin, n), w, type);
    parts.push_back(statistics(z, targets.narrow(0, begin, n), options).stats);
  }
  return joined(parts, hidden.to(type));
}

HeadStats head_backward(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        const std::vector<int64_t>& units, const HeadOptions& options,
                        const HeadLoss& fn, Tensor d_hidden, Tensor d_weight) {
  const at::NoGradGuard no_grad;
  check(hidden, weight, targets);
  const int64_t m = hidden.size(0);
  if (units.empty() || units.front() != 0 || units.back() != m ||
      !std::is_sorted(units.begin(), units.end()))
    throw ArgumentError(cat("[head_backward] units must ascend from 0 to ", m));
  const auto type = statistics_type(hidden.scalar_type());
  const Tensor w = weight.to(type);
  const int64_t budget = rows_in_budget(options, weight, type);

  // dZ in place of the logits, then its two products.
  const auto finish = [&](Tensor z, const Tensor& lse, const Tensor& g, int64_t begin) {
    const int64_t n = z.size(0);
    Tensor dz = z.sub_(lse).exp_().mul_(g.to(type).unsqueeze(1).neg());
    dz.scatter_add_(1, targets.narrow(0, begin, n).unsqueeze(1), g.to(type).unsqueeze(1));
    d_hidden.narrow(0, begin, n).add_(at::mm(dz, w));
    if (d_weight.defined()) d_weight.addmm_(dz.t(), hidden.narrow(0, begin, n).to(type));
  };
  const auto gradient = [&](const HeadStats& stats, Range range) {
    const Tensor g = fn(stats, range);
    if (!g.defined() || g.dim() != 1 || g.size(0) != range.end - range.begin)
      throw ArgumentError(cat("[head_backward] the loss must return one gradient per target, [",
                              range.end - range.begin, "]; got ", shown(g)));
    return g;
  };

  std::vector<HeadStats> all;
  for (size_t unit = 0; unit + 1 < units.size();) {
    size_t next = unit + 1;  // as many whole units as the budget holds, at least one
    while (next + 1 < units.size() && units[next + 1] - units[unit] <= budget) ++next;
    const Range range{units[unit], units[next]};
    const int64_t rows = range.end - range.begin;
    unit = next;
    if (rows == 0) continue;
    if (rows <= budget) {
      Tensor z = logits_of(hidden.narrow(0, range.begin, rows), w, type);
      const auto chunk = statistics(z, targets.narrow(0, range.begin, rows), options);
      finish(z, chunk.lse, gradient(chunk.stats, range), range.begin);
      all.push_back(chunk.stats);
      continue;
    }
    // One unit above the budget: statistics of all its pieces, the loss, then the logits again.
    std::vector<HeadStats> pieces;
    std::vector<Tensor> lse;
    for (int64_t begin = range.begin; begin < range.end; begin += budget) {
      const int64_t n = std::min(budget, range.end - begin);
      const Tensor z = logits_of(hidden.narrow(0, begin, n), w, type);
      const auto piece = statistics(z, targets.narrow(0, begin, n), options);
      pieces.push_back(piece.stats);
      lse.push_back(piece.lse);
    }
    const HeadStats stats = joined(pieces, w);
    const Tensor g = gradient(stats, range);
    for (int64_t begin = range.begin, i = 0; begin < range.end; begin += budget, ++i) {
      const int64_t n = std::min(budget, range.end - begin);
      finish(logits_of(hidden.narrow(0, begin, n), w, type), lse[static_cast<size_t>(i)],
             g.narrow(0, begin - range.begin, n), begin);
    }
    all.push_back(stats);
  }
  return joined(all, w);
}

Tensor head_kl(const Tensor& hidden, const Tensor& weight, const Tensor& q_hidden,
               const Tensor& q_weight, const HeadOptions& options) {
  const at::NoGradGuard no_grad;
  expect_dim(hidden, 2, "head_kl", "hidden");
  if (weight.size(0) != q_weight.size(0) || hidden.size(0) != q_hidden.size(0))
    throw ArgumentError(cat("[head_kl] both sides need the same rows and vocabulary; got ",
                            shown(hidden), " @ ", shown(weight), " and ", shown(q_hidden), " @ ",
                            shown(q_weight)));
  const auto type = statistics_type(hidden.scalar_type());
  const Tensor w = weight.to(type), q_w = q_weight.to(type);
  const int64_t m = hidden.size(0),
                step = std::max<int64_t>(1, rows_in_budget(options, weight, type) / 2);
  Tensor out = at::zeros({m}, w.options());
  for (int64_t begin = 0; begin < m; begin += step) {
    const int64_t n = std::min(step, m - begin);
    const Tensor log_p = at::log_softmax(logits_of(hidden.narrow(0, begin, n), w, type), 1);
    const Tensor log_q = at::log_softmax(logits_of(q_hidden.narrow(0, begin, n), q_w, type), 1);
    out.narrow(0, begin, n).copy_((log_p.exp() * (log_p - log_q)).sum(1));
  }
  return out;
}

}  // namespace luce
