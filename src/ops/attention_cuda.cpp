// Attention over prompt trees on a GPU. In bf16 it is put together of two runs of LibTorch's
// FlashAttention (Dao, arXiv:2307.08691): every segment over itself, causally, and the rows with a
// prefix over that prefix, merged by their log-sum-exp. All else goes through the plain kernel.
#if defined(LUCE_CUDA)
#include <algorithm>
#include <map>
#include <optional>

#include "ops/attention_backend.h"
#include "ops/cuda_launch.h"

namespace luce {
namespace {

using Segments = std::vector<TreeSegment>;

Segments with_rows(const Segments& segments) {
  Segments out;
  for (const auto& s : segments)
    if (s.length > 0) out.push_back(s);
  std::sort(out.begin(), out.end(),
            [](const TreeSegment& a, const TreeSegment& b) { return a.begin < b.begin; });
  return out;
}

/// Whether no row belongs to two segments; `segments` in the order of their rows.
bool are_disjoint(const Segments& segments) {
  for (size_t i = 1; i < segments.size(); ++i)
    if (segments[i - 1].begin + segments[i - 1].length > segments[i].begin) return false;
  return true;
}

// --- The plain kernel ----------------------------------------------------------------------------

cuda::AttentionShape shape_of(const Tensor& q, const Tensor& k, const AttentionOptions& o) {
  return {.type = kernel_type(q, "tree_attention"),
          .heads = q.size(1),
          .kv_heads = k.size(1),
          .width = q.size(2),
          .q_stride = q.size(1) * q.size(2),
          .k_stride = k.size(1) * k.size(2),
          .v_stride = k.size(1) * k.size(2),
          .scale = o.scale,
          .softcap = o.softcap,
          .window = o.window};
}

/// The segments, and who reads which keys, on the device.
struct Tables {
  Tensor numbers;
  cuda::AttentionSegments segments;
  cuda::AttentionReaders readers;

  Tables(const Segments& list, const Tensor& like) {
    // Runs end where a segment or a prefix does, so that all rows of a run have the same readers.
    std::vector<int64_t> ends;
    for (const auto& s : list) {
      ends.insert(ends.end(), {s.begin, s.begin + s.length});
      if (s.prefix_length > 0)
        ends.insert(ends.end(), {s.prefix_begin, s.prefix_begin + s.prefix_length});
    }
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    std::vector<std::vector<int64_t>> readers_of(ends.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const auto reads = [&](int64_t begin, int64_t length) {
        const auto first = std::lower_bound(ends.begin(), ends.end(), begin) - ends.begin();
        for (auto run = static_cast<size_t>(first); ends[run] < begin + length; ++run)
          if (readers_of[run].empty() || readers_of[run].back() != static_cast<int64_t>(i))
            readers_of[run].push_back(static_cast<int64_t>(i));
      };
      reads(list[i].begin, list[i].length);
      if (list[i].prefix_length > 0) reads(list[i].prefix_begin, list[i].prefix_length);
    }

    std::vector<int64_t> flat;
    for (const auto& s : list) {
      flat.insert(flat.end(), {s.begin, s.length, s.prefix_begin, s.prefix_length});
      segments.longest = std::max(segments.longest, s.length);
    }
    segments.count = static_cast<int64_t>(list.size());
    const size_t runs_at = flat.size();
    int64_t first_reader = 0;
    for (size_t run = 0; run + 1 < ends.size(); ++run) {
      const auto count = static_cast<int64_t>(readers_of[run].size());
      if (count == 0) continue;
      const int64_t length = ends[run + 1] - ends[run];
      flat.insert(flat.end(), {ends[run], length, first_reader, count});
      first_reader += count;
      readers.longest = std::max(readers.longest, length);
      ++readers.count;
    }
    const size_t readers_at = flat.size();
    for (const auto& some : readers_of) flat.insert(flat.end(), some.begin(), some.end());
    numbers = on_device(flat, like);
    const int64_t* data = numbers.const_data_ptr<int64_t>();
    segments.table = data;
    readers.runs = data + runs_at;
    readers.segments = data + readers_at;
  }
};

// --- FlashAttention ------------------------------------------------------------------------------

/// Sequences of queries and of the keys they see, as places in flat rows: i32 [count + 1].
struct Sequences {
  Tensor q, k;
  int64_t longest_q = 0, longest_k = 0;
};

struct FlashPlan {
  Sequences own;         // every segment
  Sequences prefixes;    // every prefix that is read, and the rows that read it
  Tensor readers, read;  // i64: rows of the queries and keys of `prefixes`
  bool has_prefix = false;
};

/// What FlashAttention can compute: segments that fill the N rows one after another, and prefixes
/// that are the same or share no row. Nothing otherwise.
std::optional<FlashPlan> flash_plan(const Tensor& q, const Segments& segments,
                                    const AttentionOptions& o) {
  if (q.scalar_type() != at::kBFloat16 || q.size(2) % 8 != 0 || o.window != 0 || o.softcap != 0)
    return std::nullopt;
  std::vector<int64_t> own{0}, cum_q{0}, cum_k{0}, readers, read;
  FlashPlan plan;
  std::map<int64_t, std::vector<TreeSegment>> by_prefix;  // by the prefix's first row
  for (const auto& s : segments) {
    if (s.begin != own.back()) return std::nullopt;
    own.push_back(s.begin + s.length);
    plan.own.longest_q = std::max(plan.own.longest_q, s.length);
    if (s.prefix_length > 0) by_prefix[s.prefix_begin].push_back(s);
  }
  if (own.back() != q.size(0)) return std::nullopt;
  plan.own.longest_k = plan.own.longest_q;
  int64_t end = 0;
  for (const auto& [begin, group] : by_prefix) {
    const int64_t length = group.front().prefix_length;
    if (begin < end) return std::nullopt;
    end = begin + length;
    for (const auto& s : group) {
      if (s.prefix_length != length) return std::nullopt;
      for (int64_t i = 0; i < s.length; ++i) readers.push_back(s.begin + i);
    }
    for (int64_t i = begin; i < end; ++i) read.push_back(i);
    plan.prefixes.longest_q =
        std::max(plan.prefixes.longest_q, static_cast<int64_t>(readers.size()) - cum_q.back());
    plan.prefixes.longest_k = std::max(plan.prefixes.longest_k, length);
    cum_q.push_back(static_cast<int64_t>(readers.size()));
    cum_k.push_back(static_cast<int64_t>(read.size()));
  }
  plan.has_prefix = !readers.empty();

  std::vector<int64_t> flat;
  for (const auto* list : {&own, &cum_q, &cum_k, &readers, &read})
    flat.insert(flat.end(), list->begin(), list->end());
  const Tensor numbers = on_device(flat, q), narrow = numbers.to(at::kInt);
  int64_t at = 0;
  const auto next = [&](const Tensor& from, const std::vector<int64_t>& list) {
    const auto count = static_cast<int64_t>(list.size());
    return from.narrow(0, (at += count) - count, count);
  };
  plan.own.q = plan.own.k = next(narrow, own);
  plan.prefixes.q = next(narrow, cum_q);
  plan.prefixes.k = next(narrow, cum_k);
  plan.readers = next(numbers, readers);
  plan.read = next(numbers, read);
  return plan;
}

/// With queries of one row each LibTorch lays lse out in another way: it is never told so.
int64_t told_longest(int64_t longest) { return std::max<int64_t>(2, longest); }

/// out [R, H, d] and lse [H, R] f32 for R queries.
AttentionResult flash_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                              bool causal, double scale) {
  auto result = at::_flash_attention_forward(q, k, v, s.q, s.k, told_longest(s.longest_q),
                                             told_longest(s.longest_k), 0.0, causal, false, scale);
  return {std::get<0>(result).contiguous(), std::get<1>(result).contiguous()};
}

/// Gradients of attention whose out and lse may count further keys: the softmax that they belong to
/// is over all of them.
AttentionGradients flash_backward(const Tensor& d_out, const AttentionSaved& saved,
                                  const Sequences& s, bool causal, double scale) {
  // Of dropout, which there is none of.
  const auto random = saved.q.options().dtype(at::kUInt64);
  const Tensor state = at::empty({2}, random), unused = at::empty({}, random);
  auto [dq, dk, dv] = at::_flash_attention_backward(
      d_out, saved.q, saved.k, saved.v, saved.out, saved.lse, s.q, s.k, told_longest(s.longest_q),
      told_longest(s.longest_k), 0.0, causal, state, unused, scale);
  return {dq, dk, dv};
}

/// lse of the result is a view of [H, N].
AttentionResult by_flash(const Tensor& q, const Tensor& k, const Tensor& v, const FlashPlan& plan,
                         double scale) {
  const auto [out, lse] = flash_forward(q, k, v, plan.own, true, scale);
  if (plan.has_prefix) {
    const auto more = flash_forward(q.index_select(0, plan.readers), k.index_select(0, plan.read),
                                    v.index_select(0, plan.read), plan.prefixes, false, scale);
    const cuda::AttentionPart own{
        .out = out.data_ptr(), .lse = lse.data_ptr(), .lse_row = 1, .lse_head = lse.size(1)};
    const cuda::AttentionPart prefix{.out = more.out.data_ptr(),
                                     .lse = more.lse.data_ptr(),
                                     .lse_row = 1,
                                     .lse_head = more.lse.size(1)};
    check_launch(cuda::merge_attention(kernel_type(q, "tree_attention"), plan.readers.size(0),
                                       q.size(1), q.size(2), plan.readers.const_data_ptr<int64_t>(),
                                       own, prefix, own, stream_of(q)),
                 "tree_attention");
  }
  return {out, lse.t()};
}

AttentionGradients by_flash_backward(const Tensor& d_out, const AttentionSaved& saved,
                                     const FlashPlan& plan, double scale) {
  const Tensor lse = saved.lse.t().contiguous();
  const AttentionGradients d =
      flash_backward(d_out, {saved.q, saved.k, saved.v, saved.out, lse}, plan.own, true, scale);
  if (plan.has_prefix) {
    const auto of_readers = [&](const Tensor& t) { return t.index_select(0, plan.readers); };
    const auto of_read = [&](const Tensor& t) { return t.index_select(0, plan.read); };
    const AttentionGradients more =
        flash_backward(of_readers(d_out),
                       {of_readers(saved.q), of_read(saved.k), of_read(saved.v),
                        of_readers(saved.out), lse.index_select(1, plan.readers)},
                       plan.prefixes, false, scale);
    // No row is listed twice, so that each sum has two summands and no order to depend on.
    d.q.index_add_(0, plan.readers, more.q);
    d.k.index_add_(0, plan.read, more.k);
    d.v.index_add_(0, plan.read, more.v);
  }
  return d;
}

}  // namespace

bool cuda_attention_covers(const Tensor& q, const Segments& segments) {
  return (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16) && q.size(1) > 0 &&
         q.size(2) >= 1 && q.size(2) <= 256 && are_disjoint(with_rows(segments));
}

AttentionResult cuda_attention_forward(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in,
                                       const Segments& all, const AttentionOptions& o) {
  const c10::cuda::CUDAGuard device(q_in.device());
  const Segments segments = with_rows(all);
  const Tensor q = q_in.contiguous(), k = k_in.contiguous(), v = v_in.contiguous();
  if (!segments.empty())
    if (const auto plan = flash_plan(q, segments, o)) return by_flash(q, k, v, *plan, o.scale);
  const AttentionResult result{
      at::zeros(q.sizes(), q.options()),
      at::zeros({q.size(0), q.size(1)}, q.options().dtype(statistics_type(q.scalar_type())))};
  if (segments.empty()) return result;
  const Tables tables(segments, q);
  check_launch(cuda::attention_forward(shape_of(q, k, o), tables.segments, q.data_ptr(),
                                       k.data_ptr(), v.data_ptr(), result.out.data_ptr(),
                                       result.lse.data_ptr(), stream_of(q)),
               "tree_attention");
  return result;
}

AttentionGradients cuda_attention_backward(const Tensor& d_out_in, const AttentionSaved& saved_in,
                                           const Segments& all, const AttentionOptions& o) {
  const c10::cuda::CUDAGuard device(saved_in.q.device());
  const Segments segments = with_rows(all);
  const Tensor d_out = d_out_in.contiguous();
  const AttentionSaved saved{saved_in.q.contiguous(), saved_in.k.contiguous(),
                             saved_in.v.contiguous(), saved_in.out.contiguous(), saved_in.lse};
  if (!segments.empty())
    if (const auto plan = flash_plan(saved.q, segments, o))
      return by_flash_backward(d_out, saved, *plan, o.scale);
  const AttentionGradients d{at::zeros(saved.q.sizes(), saved.q.options()),
                             at::zeros(saved.k.sizes(), saved.k.options()),
                             at::zeros(saved.v.sizes(), saved.v.options())};
  if (segments.empty()) return d;
  const Tables tables(segments, saved.q);
  const Tensor lse = saved.lse.contiguous(), delta = at::empty_like(lse);
  check_launch(cuda::attention_backward(shape_of(saved.q, saved.k, o), tables.segments,
                                        tables.readers, saved.q.data_ptr(), saved.k.data_ptr(),
                                        saved.v.data_ptr(), saved.out.data_ptr(), lse.data_ptr(),
                                        d_out.data_ptr(), delta.data_ptr(), d.q.data_ptr(),
                                        d.k.data_ptr(), d.v.data_ptr(), stream_of(saved.q)),
               "tree_attention");
  return d;
}

}  // namespace luce
#endif
