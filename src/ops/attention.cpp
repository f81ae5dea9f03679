#include "luce/ops/attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>

#include "luce/base/error.h"
#include "ops/attention_backend.h"

namespace luce {
namespace {

using Segments = std::vector<TreeSegment>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Backend {
  decltype(&composed::attention_forward) forward;
  decltype(&composed::attention_backward) backward;
};

Backend backend([[maybe_unused]] const Tensor& q, bool kernel) {
  if (!kernel) return {composed::attention_forward, composed::attention_backward};
#if defined(LUCE_CUDA)
  if (q.is_cuda()) return {cuda_attention_forward, cuda_attention_backward};
#endif
  return {cpu::attention_forward, cpu::attention_backward};
}

bool has_kernel(const Tensor& q, [[maybe_unused]] const Segments& segments) {
#if defined(LUCE_CUDA)
  if (q.is_cuda()) return cuda_attention_covers(q, segments);
#endif
  return cpu::attention_covers(q);
}

class TreeAttention : public torch::autograd::Function<TreeAttention> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Segments& segments, const AttentionOptions& o, bool kernel) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto [out, lse] = backend(q, kernel).forward(q, k, v, segments, o);
    ctx->save_for_backward({q, k, v, out, lse});
    std::vector<int64_t> flat;
    for (const auto& s : segments)
      flat.insert(flat.end(), {s.begin, s.length, s.prefix_begin, s.prefix_length});
    ctx->saved_data["segments"] = flat;
    ctx->saved_data["scale"] = o.scale;
    ctx->saved_data["window"] = o.window;
    ctx->saved_data["softcap"] = o.softcap;
    ctx->saved_data["kernel"] = kernel;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const auto saved = ctx->get_saved_variables();
    auto& data = ctx->saved_data;
    const auto flat = data["segments"].toIntVector();
    Segments segments;
    for (size_t i = 0; i < flat.size(); i += 4)
      segments.push_back({flat[i], flat[i + 1], flat[i + 2], flat[i + 3]});
    const AttentionOptions o{data["scale"].toDouble(), data["window"].toInt(),
                             data["softcap"].toDouble()};
    const auto d =
        backend(saved[0], data["kernel"].toBool())
            .backward(grads[0], {saved[0], saved[1], saved[2], saved[3], saved[4]}, segments, o);
    return {d.q, d.k, d.v, Tensor(), Tensor(), Tensor()};
  }
};

void check_options(const char* where, const AttentionOptions& o) {
  if (o.window < 0 || !(o.softcap >= 0))
    throw ArgumentError(cat("[", where, "] window and softcap must be at least 0; got window ",
                            o.window, ", softcap ", o.softcap));
}

bool one_dtype(const Tensor& q, const Tensor& k, const Tensor& v) {
  return q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type();
}

void check_tree(const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                const AttentionOptions& o) {
  expect_dim(q, 3, "tree_attention", "q");
  expect_dim(k, 3, "tree_attention", "k");
  expect_dim(v, 3, "tree_attention", "v");
  const bool fits = k.sizes() == v.sizes() && q.size(0) == k.size(0) && q.size(2) == k.size(2) &&
                    k.size(1) > 0 && q.size(1) % k.size(1) == 0 && one_dtype(q, k, v);
  if (!fits)
    throw ArgumentError(
        cat("[tree_attention] q [N, H, d] and k, v [N, K, d] must agree in N, d and dtype, "
            "with H a multiple of K; got ",
            shown(q), ", ", shown(k), ", ", shown(v)));
  for (const auto& s : segments)
    if (s.begin < 0 || s.length < 0 || s.begin + s.length > q.size(0) || s.prefix_begin < 0 ||
        s.prefix_length < 0 || s.prefix_begin + s.prefix_length > q.size(0))
      throw ArgumentError(cat("[tree_attention] a segment leaves the ", q.size(0), " rows"));
  check_options("tree_attention", o);
}

}  // namespace

std::vector<std::vector<size_t>> attention_trees(const Segments& segments) {
  struct Run {
    int64_t begin, end;
    size_t segment;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& s = segments[i];
    if (s.length == 0) continue;
    runs.push_back({s.begin, s.begin + s.length, i});
    if (s.prefix_length > 0) runs.push_back({s.prefix_begin, s.prefix_begin + s.prefix_length, i});
  }
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.begin < b.begin; });
  // Disjoint sets of segments: each names an earlier member of its tree, the first names itself.
  std::vector<size_t> earlier(segments.size());
  std::iota(earlier.begin(), earlier.end(), 0);
  const auto first_of = [&](size_t i) {
    while (earlier[i] != i) i = earlier[i];
    return i;
  };
  int64_t end = 0;
  size_t last = 0;  // a segment with rows up to `end`
  for (const Run& run : runs) {
    if (run.begin < end) {
      const size_t a = first_of(run.segment), b = first_of(last);
      earlier[std::max(a, b)] = std::min(a, b);
    }
    last = run.segment;
    end = std::max(end, run.end);
  }
  std::vector<std::vector<size_t>> by_first(segments.size()), out;
  for (size_t i = 0; i < segments.size(); ++i)
    if (segments[i].length > 0) by_first[first_of(i)].push_back(i);
  for (auto& tree : by_first)
    if (!tree.empty()) out.push_back(std::move(tree));
  return out;
}

Tensor tree_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Segments& segments,
                      const AttentionOptions& options) {
  check_tree(q, k, v, segments, options);
  return TreeAttention::apply(q, k, v, segments, options, has_kernel(q, segments));
}

Tensor composed::tree_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                const Segments& segments, const AttentionOptions& options) {
  check_tree(q, k, v, segments, options);
  return TreeAttention::apply(q, k, v, segments, options, false);
}

}  // namespace luce
