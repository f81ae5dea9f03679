#include "luce/ops/head.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "luce/base/error.h"
#include "ops/head_backend.h"

namespace luce {
namespace {

int64_t row_bytes(const Tensor& weight) {
  const auto type = statistics_type(weight.scalar_type());
  return std::max<int64_t>(1, weight.size(0) * static_cast<int64_t>(c10::elementSize(type)));
}

int64_t rows_in(int64_t bytes, const Tensor& weight) {
  const int64_t rows = std::max<int64_t>(1, bytes / row_bytes(weight));
  return rows < 16 ? rows : rows / 16 * 16;  // kernels hold multiples of 16
}

void check(const LogitOptions& o, const char* where) {
  if (!(o.temperature > 0) || !(o.softcap >= 0))
    throw ArgumentError(cat("[", where,
                            "] temperature must be above 0 and softcap at least 0; got ",
                            o.temperature, " and ", o.softcap));
}

void check_tokens(const Tensor& tokens, int64_t vocabulary, const char* name) {
  if (tokens.numel() == 0) return;
  const auto [low, high] = at::aminmax(tokens);
  if (low.item<int64_t>() < 0 || high.item<int64_t>() >= vocabulary)
    throw ArgumentError(cat("[head] ", name, " must lie in [0, ", vocabulary, "); got values from ",
                            low.item<int64_t>(), " to ", high.item<int64_t>()));
}

HeadInputs checked(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                   const HeadOptions& o) {
  expect_dim(hidden, 2, "head", "hidden");
  expect_dim(weight, 2, "head", "weight");
  expect_dim(targets, 1, "head", "targets");
  if (hidden.size(1) != weight.size(1) || hidden.size(0) != targets.size(0) ||
      hidden.scalar_type() != weight.scalar_type() || targets.scalar_type() != at::kLong)
    throw ArgumentError(
        cat("[head] expected hidden [M, D], weight [V, D] of one dtype and i64 "
            "targets [M]; got ",
            shown(hidden), ", ", shown(weight), ", ", shown(targets)));
  check(o.logits, "head");
  check_tokens(targets, weight.size(0), "targets");
  if (o.top_k < 0 || o.top_k > weight.size(0))
    throw ArgumentError(cat("[head] top_k must lie in [0, ", weight.size(0), "]; got ", o.top_k));
  if (o.candidates != nullptr) {
    const auto& c = *o.candidates;
    expect_dim(c.ids, 1, "head", "candidates");
    if (static_cast<int64_t>(c.offset.size()) != targets.size(0) + 1 || c.offset.front() != 0 ||
        c.offset.back() != c.ids.size(0) || !std::is_sorted(c.offset.begin(), c.offset.end()))
      throw ArgumentError(cat("[head] offsets of candidates must ascend from 0 to their number, ",
                              c.ids.size(0), ", with one more than the ", targets.size(0),
                              " targets"));
    check_tokens(c.ids, weight.size(0), "candidates");
  }
  return {hidden.detach().contiguous(), weight.detach().contiguous(), targets.contiguous()};
}

/// One buffer for all chunks of a call where the caller keeps none.
template <class Options>
Options with_workspace(Options options, HeadWorkspace& own) {
  if (options.workspace == nullptr) options.workspace = &own;
  return options;
}

std::unique_ptr<HeadBackend> backend(const HeadInputs& in, const HeadOptions& options) {
  if (in.hidden.scalar_type() != at::kDouble) {
    if (in.hidden.is_cpu()) return cpu_head(in, options);
#if defined(LUCE_CUDA)
    if (in.hidden.is_cuda()) return cuda_head(in, options);
#endif
  }
  return composed_head(in, options);
}

/// The part of a unit's gradients that belongs to `n` of its rows from `begin` on.
HeadGradients part_of(const HeadGradients& g, int64_t begin, int64_t n, Range candidates) {
  const auto cut = [&](const Tensor& t) { return t.defined() ? t.narrow(0, begin, n) : t; };
  return {cut(g.logps), cut(g.entropy), cut(g.log_sum_p2), cut(g.mean_logit),
          g.candidate_logps.defined()
              ? g.candidate_logps.narrow(0, candidates.begin, candidates.end - candidates.begin)
              : Tensor()};
}

void check(const HeadGradients& g, const HeadStats& stats) {
  const auto expect = [](const char* name, const Tensor& got, const Tensor& stat) {
    if (!got.defined()) return;
    if (!stat.defined())
      throw ArgumentError(cat("[head_backward] the loss returned a gradient of ", name,
                              ", which HeadOptions did not ask for"));
    if (got.sizes() != stat.sizes())
      throw ArgumentError(cat("[head_backward] the loss must return one gradient of ", name,
                              " per value, ", shown(stat), "; got ", shown(got)));
  };
  if (!g.logps.defined() && !g.entropy.defined() && !g.log_sum_p2.defined() &&
      !g.mean_logit.defined() && !g.candidate_logps.defined())
    throw ArgumentError("[head_backward] the loss returned no gradient at all");
  expect("logps", g.logps, stats.logps);
  expect("entropy", g.entropy, stats.entropy);
  expect("log_sum_p2", g.log_sum_p2, stats.log_sum_p2);
  expect("mean_logit", g.mean_logit, stats.mean_logit);
  expect("candidate_logps", g.candidate_logps, stats.candidate_logps);
}

}  // namespace

HeadStats joined_stats(const std::vector<HeadStats>& parts) {
  HeadStats out;
  for (Tensor HeadStats::*member :
       {&HeadStats::logps, &HeadStats::entropy, &HeadStats::log_sum_p2, &HeadStats::greedy_match,
        &HeadStats::mean_logit, &HeadStats::top_ids, &HeadStats::top_logps,
        &HeadStats::candidate_logps}) {
    if (!(parts.front().*member).defined()) continue;
    std::vector<Tensor> tensors;
    for (const auto& part : parts) tensors.push_back(part.*member);
    out.*member = tensors.size() == 1 ? tensors.front() : at::cat(tensors);
  }
  return out;
}

Tensor chunk_buffer(Tensor* kept, int64_t count, const Tensor& like, at::ScalarType type) {
  if (kept == nullptr) return at::empty({count}, like.options().dtype(type));
  const bool fits = kept->defined() && kept->numel() >= count && kept->device() == like.device() &&
                    kept->scalar_type() == type;
  if (!fits) {
    *kept = Tensor();  // frees the old one first
    *kept = at::empty({count}, like.options().dtype(type));
  }
  return kept->narrow(0, 0, count);
}

Candidates candidates_of(const Candidates& all, int64_t begin, int64_t n) {
  Candidates out;
  const int64_t first = all.offset[static_cast<size_t>(begin)];
  for (int64_t i = begin; i <= begin + n; ++i)
    out.offset.push_back(all.offset[static_cast<size_t>(i)] - first);
  out.ids = all.ids.narrow(0, first, out.offset.back());
  return out;
}

HeadStats head(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
               const HeadOptions& options) {
  const at::NoGradGuard no_grad;
  HeadWorkspace own;
  const auto run = backend(checked(hidden, weight, targets, options), with_workspace(options, own));
  const int64_t m = hidden.size(0), step = rows_in(options.chunk_bytes, weight);
  std::vector<HeadStats> parts;
  for (int64_t begin = 0; begin < m || parts.empty(); begin += step)
    parts.push_back(run->forward(begin, std::min(step, m - begin)));
  if (options.use != nullptr) {
    options.use->rows_per_chunk = step;
    options.use->chunks += static_cast<int64_t>(parts.size());
  }
  return joined_stats(parts);
}

Logits head_logits(const Tensor& hidden, const Tensor& weight, const LogitOptions& options) {
  const at::NoGradGuard no_grad;
  HeadOptions o;
  o.logits = options;
  const Tensor targets =
      at::zeros({hidden.dim() > 0 ? hidden.size(0) : 0}, hidden.options().dtype(at::kLong));
  const auto run = backend(checked(hidden, weight, targets, o), o);
  run->forward(0, hidden.size(0));
  return run->logits();
}

HeadStats head_backward(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        const std::vector<int64_t>& units, const HeadOptions& options,
                        const HeadLoss& fn, Tensor d_hidden, Tensor d_weight) {
  const at::NoGradGuard no_grad;
  const HeadInputs in = checked(hidden, weight, targets, options);
  const int64_t m = hidden.size(0);
  if (units.empty() || units.front() != 0 || units.back() != m ||
      !std::is_sorted(units.begin(), units.end()))
    throw ArgumentError(cat("[head_backward] units must ascend from 0 to ", m));
  int64_t largest = 0;
  for (size_t i = 0; i + 1 < units.size(); ++i)
    largest = std::max(largest, units[i + 1] - units[i]);
  int64_t budget = rows_in(options.chunk_bytes, weight);
  if (largest > budget && largest <= rows_in(options.max_chunk_bytes, weight)) budget = largest;
  HeadUse use{.rows_per_chunk = budget};
  HeadWorkspace own;
  const auto run = backend(in, with_workspace(options, own));
  const auto gradient = [&](const HeadStats& stats, Range range) {
    HeadGradients g = fn(stats, range);
    check(g, stats);
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
    Tensor d_rows = d_hidden.narrow(0, range.begin, rows);
    if (rows <= budget) {
      const HeadStats stats = run->forward(range.begin, rows);
      run->backward(gradient(stats, range), d_rows, d_weight);
      all.push_back(stats);
      ++use.chunks;
      continue;
    }
    // One unit above the budget: statistics of all its pieces, the loss, then the logits again.
    std::vector<HeadStats> pieces;
    for (int64_t begin = range.begin; begin < range.end; begin += budget)
      pieces.push_back(run->forward(begin, std::min(budget, range.end - begin)));
    const HeadStats stats = joined_stats(pieces);
    const HeadGradients g = gradient(stats, range);
    Range candidates;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const int64_t begin = range.begin + static_cast<int64_t>(i) * budget;
      const int64_t n = std::min(budget, range.end - begin);
      const Tensor& c = pieces[i].candidate_logps;
      candidates = {candidates.end, candidates.end + (c.defined() ? c.numel() : 0)};
      run->forward(begin, n);
      Tensor piece = d_hidden.narrow(0, begin, n);
      run->backward(part_of(g, begin - range.begin, n, candidates), piece, d_weight);
      use.chunks += 2;
    }
    ++use.recomputed_units;
    all.push_back(stats);
  }
  if (options.use != nullptr) {
    options.use->rows_per_chunk = use.rows_per_chunk;
    options.use->chunks += use.chunks;
    options.use->recomputed_units += use.recomputed_units;
  }
  return all.empty() ? run->forward(0, 0) : joined_stats(all);
}

namespace {

std::unique_ptr<DivergenceBackend> divergence_backend(const HeadSide& p_in, const HeadSide& q_in,
                                                      const DivergenceOptions& o) {
  for (const auto* side : {&p_in, &q_in}) {
    expect_dim(side->hidden, 2, "head_divergence", "hidden");
    expect_dim(side->weight, 2, "head_divergence", "weight");
    check(side->logits, "head_divergence");
  }
  if (p_in.weight.size(0) != q_in.weight.size(0) || p_in.hidden.size(0) != q_in.hidden.size(0) ||
      p_in.hidden.size(1) != p_in.weight.size(1) || q_in.hidden.size(1) != q_in.weight.size(1) ||
      p_in.hidden.scalar_type() != p_in.weight.scalar_type() ||
      q_in.hidden.scalar_type() != q_in.weight.scalar_type() ||
      p_in.hidden.scalar_type() != q_in.hidden.scalar_type())
    throw ArgumentError(
        cat("[head_divergence] both sides need the same rows, vocabulary and dtype; "
            "got ",
            shown(p_in.hidden), " @ ", shown(p_in.weight), " and ", shown(q_in.hidden), " @ ",
            shown(q_in.weight)));
  if (o.kind == Divergence::jensen_shannon && !(o.beta > 0 && o.beta < 1))
    throw ArgumentError(cat("[head_divergence] beta must lie in (0, 1); got ", o.beta));
  const auto plain = [](const HeadSide& side) {
    return HeadSide{side.hidden.detach().contiguous(), side.weight.detach().contiguous(),
                    side.logits};
  };
  const HeadSide p = plain(p_in), q = plain(q_in);
  if (p.hidden.scalar_type() != at::kDouble) {
    if (p.hidden.is_cpu()) return cpu_divergence(p, q, o);
#if defined(LUCE_CUDA)
    if (p.hidden.is_cuda()) return cuda_divergence(p, q, o);
#endif
  }
  return composed_divergence(p, q, o);
}

/// Calls `fn(begin, n)` for chunks whose two sides of logits fit the budget.
template <class Fn>
Tensor by_chunks(const HeadSide& p, const DivergenceOptions& o, const Fn& fn) {
  const int64_t m = p.hidden.size(0),
                step = std::max<int64_t>(1, rows_in(o.chunk_bytes, p.weight) / 2);
  std::vector<Tensor> parts;
  for (int64_t begin = 0; begin < m || parts.empty(); begin += step)
    parts.push_back(fn(begin, std::min(step, m - begin)));
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace

Tensor head_divergence(const HeadSide& p, const HeadSide& q, const DivergenceOptions& options) {
  const at::NoGradGuard no_grad;
  HeadWorkspace own;
  const auto run = divergence_backend(p, q, with_workspace(options, own));
  return by_chunks(p, options, [&](int64_t begin, int64_t n) { return run->forward(begin, n); });
}

Tensor head_divergence_backward(const HeadSide& p, const HeadSide& q,
                                const DivergenceOptions& options, const Tensor& upstream,
                                Tensor d_hidden, Tensor d_weight) {
  const at::NoGradGuard no_grad;
  HeadWorkspace own;
  const auto run = divergence_backend(p, q, with_workspace(options, own));
  if (!upstream.defined() || upstream.dim() != 1 || upstream.size(0) != p.hidden.size(0))
    throw ArgumentError(cat("[head_divergence] upstream must be one gradient per row, [",
                            p.hidden.size(0), "]; got ", shown(upstream)));
  return by_chunks(p, options, [&](int64_t begin, int64_t n) {
    const Tensor value = run->forward(begin, n);
    Tensor d_rows = d_hidden.narrow(0, begin, n);
    run->backward(upstream.narrow(0, begin, n), d_rows, d_weight);
    return value;
  });
}

}  // namespace luce
