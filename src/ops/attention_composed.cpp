// Attention in tensor operations: the definition, with all scores of a segment at once.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <limits>

#include "ops/attention_backend.h"

namespace luce::composed {
namespace {

using Segments = std::vector<TreeSegment>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// [n, H, d] rows → [K, (H/K)·n, d]: the queries of one key-value head side by side.
Tensor by_kv_head(const Tensor& rows, int64_t kv_heads) {
  const int64_t n = rows.size(0), h = rows.size(1), d = rows.size(2);
  return rows.reshape({n, kv_heads, h / kv_heads, d})
      .permute({1, 2, 0, 3})
      .reshape({kv_heads, -1, d});
}

/// The inverse of by_kv_head.
Tensor by_row(const Tensor& heads, int64_t n) {
  const int64_t kv_heads = heads.size(0), d = heads.size(2), g = heads.size(1) / n;
  return heads.view({kv_heads, g, n, d}).permute({2, 0, 1, 3}).reshape({n, kv_heads * g, d});
}

/// Keys or values of the prefix and the segment: [K, L, d].
Tensor with_prefix(const Tensor& rows, const TreeSegment& s) {
  const Tensor own = rows.narrow(0, s.begin, s.length);
  if (s.prefix_length == 0) return own.transpose(0, 1);
  return at::cat({rows.narrow(0, s.prefix_begin, s.prefix_length), own}).transpose(0, 1);
}

/// Scores before the mask: scale · QKᵀ, through the cap where there is one.
Tensor unmasked(const Tensor& q, const Tensor& keys, const AttentionOptions& o) {
  Tensor z = at::matmul(q, keys.transpose(-1, -2)).mul_(o.scale);
  if (o.softcap > 0) z.div_(o.softcap).tanh_().mul_(o.softcap);
  return z;
}

/// Sets to −∞ what a segment's rows do not see; z [K, g·n, L].
void mask(const Tensor& z, const TreeSegment& s, int64_t window) {
  if (s.length == 1 && window == 0) return;
  const int64_t keys = s.prefix_length + s.length;
  const auto ints = z.options().dtype(at::kLong);
  const Tensor row = at::arange(s.prefix_length, keys, ints).unsqueeze(1);
  const Tensor key = at::arange(keys, ints);
  Tensor hidden = key.gt(row);
  if (window > 0) hidden = hidden.logical_or_(key.le(row - window));
  z.view({z.size(0), -1, s.length, keys}).masked_fill_(hidden, -kInfinity);
}

/// Calls `fn` for every segment with rows: trees on different threads, a tree's segments in order.
template <class Fn>
void for_each_segment(const Segments& segments, const Fn& fn) {
  const auto forest = attention_trees(segments);
  at::parallel_for(0, static_cast<int64_t>(forest.size()), 1, [&](int64_t first, int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    for (int64_t tree = first; tree < last; ++tree)
      for (const size_t index : forest[static_cast<size_t>(tree)]) fn(segments[index]);
  });
}

}  // namespace

AttentionResult attention_forward(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in,
                                  const Segments& segments, const AttentionOptions& o) {
  const auto type = statistics_type(q_in.scalar_type());
  const Tensor q = q_in.to(type), k = k_in.to(type), v = v_in.to(type);
  Tensor out = at::zeros(q.sizes(), q.options());
  Tensor lse = at::zeros({q.size(0), q.size(1)}, q.options());
  for_each_segment(segments, [&](const TreeSegment& s) {
    const Tensor qs = by_kv_head(q.narrow(0, s.begin, s.length), k.size(1));
    Tensor p = unmasked(qs, with_prefix(k, s), o);
    mask(p, s, o.window);
    const Tensor row_lse = at::logsumexp(p, -1, true);
    p.sub_(row_lse).exp_();
    out.narrow(0, s.begin, s.length).copy_(by_row(at::bmm(p, with_prefix(v, s)), s.length));
    lse.narrow(0, s.begin, s.length).copy_(by_row(row_lse, s.length).squeeze(2));
  });
  return {out.to(q_in.scalar_type()), lse};
}

AttentionGradients attention_backward(const Tensor& d_out_in, const AttentionSaved& saved,
                                      const Segments& segments, const AttentionOptions& o) {
  const auto dtype = saved.q.scalar_type();
  const auto type = statistics_type(dtype);
  const Tensor q = saved.q.to(type), k = saved.k.to(type), v = saved.v.to(type);
  const Tensor out = saved.out.to(type), d_out = d_out_in.to(type);
  Tensor dq = at::zeros(q.sizes(), q.options()), dk = at::zeros(k.sizes(), k.options());
  Tensor dv = at::zeros(v.sizes(), v.options());
  for_each_segment(segments, [&](const TreeSegment& s) {
    const auto rows = [&](const Tensor& t) {
      return by_kv_head(t.narrow(0, s.begin, s.length), k.size(1));
    };
    const Tensor qs = rows(q), dos = rows(d_out);
    const Tensor ks = with_prefix(k, s), vs = with_prefix(v, s);
    Tensor p = unmasked(qs, ks, o), slope;
    if (o.softcap > 0) slope = p.div(o.softcap).square_().neg_().add_(1);  // d tanh x = 1 − tanh² x
    mask(p, s, o.window);
    p.sub_(rows(saved.lse.unsqueeze(2))).exp_();
    // dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)), FlashAttention-2 (arXiv:2307.08691) algorithm 2.
    const Tensor delta = (dos * rows(out)).sum(-1, true);
    Tensor ds = at::bmm(dos, vs.transpose(1, 2)).sub_(delta).mul_(p).mul_(o.scale);
    if (o.softcap > 0) ds.mul_(slope);
    dq.narrow(0, s.begin, s.length).copy_(by_row(at::bmm(ds, ks), s.length));
    const auto spread = [&](Tensor& into, const Tensor& from) {  // from: [K, L, d]
      const Tensor by_key = from.transpose(0, 1);
      if (s.prefix_length > 0)
        into.narrow(0, s.prefix_begin, s.prefix_length).add_(by_key.narrow(0, 0, s.prefix_length));
      into.narrow(0, s.begin, s.length).add_(by_key.narrow(0, s.prefix_length, s.length));
    };
    spread(dk, at::bmm(ds.transpose(1, 2), qs));
    spread(dv, at::bmm(p.transpose(1, 2), dos));
  });
  return {dq.to(dtype), dk.to(dtype), dv.to(dtype)};
}

}  // namespace luce::composed
