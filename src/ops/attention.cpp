#include "luce/ops/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>
#include <map>

#include "luce/base/error.h"

namespace luce {
namespace {

using Segments = std::vector<TreeSegment>;

/// Segments that touch the same key rows, so that two trees never write the same gradient.
std::vector<std::vector<size_t>> trees(const Segments& segments) {
  std::map<int64_t, size_t> root;  // first row of a prefix → tree
  std::vector<std::vector<size_t>> out;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& s = segments[i];
    const int64_t key = s.prefix_length > 0 ? s.prefix_begin : s.begin;
    const auto [it, fresh] = root.emplace(key, out.size());
    if (fresh) out.emplace_back();
    out[it->second].push_back(i);
  }
  return out;
}

/// [n, H, d] rows → [K, (H/K)·n, d]: the queries of one key-value head side by side.
Tensor by_kv_head(const Tensor& rows, int64_t kv_heads) {
  const int64_t n = rows.size(0), h = rows.size(1), d = rows.size(2);
  return rows.view({n, kv_heads, h / kv_heads, d}).permute({1, 2, 0, 3}).reshape({kv_heads, -1, d});
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

/// scale · QKᵀ of one segment, −∞ above the diagonal: [K, g·n, L].
Tensor scores(const Tensor& q, const Tensor& k, const TreeSegment& s, double scale) {
  Tensor out = at::bmm(q, k.transpose(1, 2)).mul_(scale);
  if (s.length > 1) {
    const Tensor above = at::ones({s.length, s.length}, q.options().dtype(at::kBool)).triu_(1);
    out.view({q.size(0), -1, s.length, s.prefix_length + s.length})
        .narrow(3, s.prefix_length, s.length)
        .masked_fill_(above, -std::numeric_limits<double>::infinity());
  }
  return out;
}

/// Calls `fn` for every segment with rows: trees on different threads, a tree's segments in order.
template <class Fn>
void for_each_segment(const Segments& segments, const Fn& fn) {
  const auto forest = trees(segments);
  at::parallel_for(0, static_cast<int64_t>(forest.size()), 1, [&](int64_t first, int64_t last) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    for (int64_t tree = first; tree < last; ++tree)
      for (const size_t index : forest[static_cast<size_t>(tree)])
        if (segments[index].length > 0) fn(segments[index]);
  });
}

class TreeAttention : public torch::autograd::Function<TreeAttention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& q_in,
                        const Tensor& k_in, const Tensor& v_in, const Segments& segments,
                        double scale) {
    const auto type = statistics_type(q_in.scalar_type());
    const Tensor q = q_in.detach().to(type), k = k_in.detach().to(type), v = v_in.detach().to(type);
    Tensor out = at::zeros_like(q);
    Tensor lse = at::zeros({q.size(0), q.size(1)}, q.options());  // log Σ exp(score) of each row
    for_each_segment(segments, [&](const TreeSegment& s) {
      const Tensor qs = by_kv_head(q.narrow(0, s.begin, s.length), k.size(1));
      Tensor p = scores(qs, with_prefix(k, s), s, scale);
      const Tensor row_lse = at::logsumexp(p, -1, true);
      p.sub_(row_lse).exp_();
      out.narrow(0, s.begin, s.length).copy_(by_row(at::bmm(p, with_prefix(v, s)), s.length));
      lse.narrow(0, s.begin, s.length).copy_(by_row(row_lse, s.length).squeeze(2));
    });
    ctx->save_for_backward({q_in, k_in, v_in, out, lse});
    ctx->saved_data["scale"] = scale;
    std::vector<int64_t> flat;
    for (const auto& s : segments)
      flat.insert(flat.end(), {s.begin, s.length, s.prefix_begin, s.prefix_length});
    ctx->saved_data["segments"] = flat;
    return out.to(q_in.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const auto dtype = saved[0].scalar_type();
    const auto type = statistics_type(dtype);
    const Tensor q = saved[0].detach().to(type), k = saved[1].detach().to(type),
                 v = saved[2].detach().to(type), out = saved[3], lse = saved[4];
    const Tensor d_out = grads[0].detach().to(type);
    const double scale = ctx->saved_data["scale"].toDouble();
    const auto flat = ctx->saved_data["segments"].toIntVector();
    Segments segments;
    for (size_t i = 0; i < flat.size(); i += 4)
      segments.push_back({flat[i], flat[i + 1], flat[i + 2], flat[i + 3]});

    Tensor dq = at::zeros_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    for_each_segment(segments, [&](const TreeSegment& s) {
      const auto rows = [&](const Tensor& t) {
        return by_kv_head(t.narrow(0, s.begin, s.length), k.size(1));
      };
      const Tensor qs = rows(q), dos = rows(d_out);
      const Tensor ks = with_prefix(k, s), vs = with_prefix(v, s);
      const Tensor row_lse = rows(lse.unsqueeze(2));
      const Tensor p = scores(qs, ks, s, scale).sub_(row_lse).exp_();
      // dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)), FlashAttention-2 (arXiv:2307.08691) algorithm 2.
      const Tensor delta = (dos * rows(out)).sum(-1, true);
      Tensor ds = at::bmm(dos, vs.transpose(1, 2)).sub_(delta).mul_(p).mul_(scale);
      dq.narrow(0, s.begin, s.length).copy_(by_row(at::bmm(ds, ks), s.length));
      const auto spread = [&](Tensor& into, const Tensor& from) {  // from: [K, L, d]
        const Tensor by_key = from.transpose(0, 1);
        if (s.prefix_length > 0)
          into.narrow(0, s.prefix_begin, s.prefix_length)
              .add_(by_key.narrow(0, 0, s.prefix_length));
        into.narrow(0, s.begin, s.length).add_(by_key.narrow(0, s.prefix_length, s.length));
      };
      spread(dk, at::bmm(ds.transpose(1, 2), qs));
      spread(dv, at::bmm(p.transpose(1, 2), dos));
    });
    return {dq.to(dtype), dk.to(dtype), dv.to(dtype), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor tree_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                      double scale) {
  expect_dim(q, 3, "tree_attention", "q");
  expect_dim(k, 3, "tree_attention", "k");
  expect_dim(v, 3, "tree_attention", "v");
  const bool fits = k.sizes() == v.sizes() && q.size(0) == k.size(0) && q.size(2) == k.size(2) &&
                    k.size(1) > 0 && q.size(1) % k.size(1) == 0;
  if (!fits)
    throw ArgumentError(
        cat("[tree_attention] q [N, H, d] and k, v [N, K, d] must agree in N and d, "
            "with H a multiple of K; got ",
            shown(q), ", ", shown(k), ", ", shown(v)));
  for (const auto& s : segments)
    if (s.begin < 0 || s.length < 0 || s.begin + s.length > q.size(0) || s.prefix_begin < 0 ||
        s.prefix_length < 0 || s.prefix_begin + s.prefix_length > q.size(0))
      throw ArgumentError(cat("[tree_attention] a segment leaves the ", q.size(0), " rows"));
  return TreeAttention::apply(q, k, v, segments, scale);
}

Tensor cached_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& lengths,
                        double scale) {
  expect_dim(q, 3, "cached_attention", "q");
  expect_dim(k, 4, "cached_attention", "k");
  expect_dim(v, 4, "cached_attention", "v");
  const int64_t b = k.size(0), kv = k.size(1), t = k.size(2), d = k.size(3);
  const auto type = statistics_type(q.scalar_type());
  const Tensor qs = q.to(type).reshape({b, kv, -1, d});
  Tensor p = at::matmul(qs, k.to(type).transpose(2, 3)).mul_(scale);  // [B, K, H/K, T]
  const Tensor unused = at::arange(t, lengths.options()).unsqueeze(0).ge(lengths.unsqueeze(1));
  p.masked_fill_(unused.view({b, 1, 1, t}), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(p, -1), v.to(type)).reshape({b, -1, d}).to(q.scalar_type());
}

}  // namespace luce
