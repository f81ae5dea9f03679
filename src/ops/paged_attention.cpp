#include "luce/ops/paged_attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "luce/base/error.h"
#include "ops/paged_attention_cpu.h"
#include "ops/paged_attention_cuda.h"

namespace luce {
namespace {

bool has_kernel(const Tensor& x, [[maybe_unused]] const Pages& pages) {
  if (x.scalar_type() != at::kFloat && x.scalar_type() != at::kBFloat16) return false;
#if defined(LUCE_CUDA)
  if (x.is_cuda()) return cuda_pages_covers(pages);
#endif
  return x.is_cpu();
}

bool are_pages(const Pages& p, at::ScalarType type) {
  return p.keys.dim() == 4 && p.values.dim() == 4 && p.keys.size(3) == kPagePositions &&
         p.values.size(2) == kPagePositions && p.keys.size(0) == p.values.size(0) &&
         p.keys.size(1) == p.values.size(1) && p.keys.size(1) > 0 &&
         p.keys.size(2) == p.values.size(3) && p.keys.scalar_type() == type &&
         p.values.scalar_type() == type && p.keys.stride(2) == kPagePositions &&
         p.keys.stride(3) == 1 && p.values.stride(2) == p.values.size(3) && p.values.stride(3) == 1;
}

/// Throws where CPU indices leave [least, most]; those on a GPU are not looked at, for the program
/// would have to wait for them.
void check_range(const Tensor& t, int64_t least, int64_t most, const char* where,
                 const char* name) {
  if (!t.is_cpu() || t.numel() == 0) return;
  const Tensor dense = t.contiguous();
  const int64_t* first = dense.const_data_ptr<int64_t>();
  const auto [low, high] = std::minmax_element(first, first + dense.numel());
  if (*low < least || *high > most)
    throw ArgumentError(cat("[", where, "] ", name, " must be from ", least, " to ", most, "; got ",
                            *low < least ? *low : *high));
}

void check(const Tensor& q, const Pages& pages, const PageTable& table, const AttentionOptions& o) {
  expect_dim(q, 3, "paged_attention", "q");
  expect_dim(table.pages, 2, "paged_attention", "pages");
  expect_dim(table.lengths, 1, "paged_attention", "lengths");
  const int64_t b = q.size(0);
  const bool fits = are_pages(pages, q.scalar_type()) && q.size(2) == pages.keys.size(2) &&
                    q.size(1) % pages.keys.size(1) == 0 && table.pages.size(0) == b &&
                    table.lengths.size(0) == b && table.pages.scalar_type() == at::kLong &&
                    table.lengths.scalar_type() == at::kLong;
  if (!fits)
    throw ArgumentError(
        cat("[paged_attention] q [B, H, d], keys [P, K, d, 64], values [P, K, 64, d], pages [B, T] "
            "and lengths [B] i64 must agree in B, d, K and dtype, with H a multiple of K; got ",
            shown(q), ", ", shown(pages.keys), ", ", shown(pages.values), ", ", shown(table.pages),
            ", ", shown(table.lengths)));
  check_range(table.lengths, 1, table.pages.size(1) * kPagePositions, "paged_attention", "lengths");
  check_range(table.pages, 0, pages.keys.size(0) - 1, "paged_attention", "pages");
  if (o.window < 0 || !(o.softcap >= 0))
    throw ArgumentError(cat("[paged_attention] window and softcap must be at least 0; got window ",
                            o.window, ", softcap ", o.softcap));
}

}  // namespace

void write_pages(const Pages& pages, const Tensor& page, const Tensor& offset, const Tensor& k,
                 const Tensor& v) {
  expect_dim(k, 3, "write_pages", "k");
  const bool fits = are_pages(pages, k.scalar_type()) && k.sizes() == v.sizes() &&
                    k.scalar_type() == v.scalar_type() && k.size(1) == pages.keys.size(1) &&
                    k.size(2) == pages.keys.size(2) && page.dim() == 1 && offset.dim() == 1 &&
                    page.size(0) == k.size(0) && offset.size(0) == k.size(0) &&
                    page.scalar_type() == at::kLong && offset.scalar_type() == at::kLong;
  if (!fits)
    throw ArgumentError(cat(
        "[write_pages] keys [P, K, d, 64], values [P, K, 64, d], page and offset [N] i64 and k, "
        "v [N, K, d] must agree in N, K, d and dtype; got ",
        shown(pages.keys), ", ", shown(pages.values), ", ", shown(page), ", ", shown(offset), ", ",
        shown(k), ", ", shown(v)));
  check_range(page, 0, pages.keys.size(0) - 1, "write_pages", "pages");
  check_range(offset, 0, kPagePositions - 1, "write_pages", "offsets");
  if (has_kernel(k, pages)) {
#if defined(LUCE_CUDA)
    if (k.is_cuda()) return cuda_write_pages(pages, page, offset, k, v);
#endif
    return cpu::write_pages(pages, page, offset, k, v);
  }
  pages.keys.permute({0, 3, 1, 2}).index_put_({page, offset}, k);
  pages.values.permute({0, 2, 1, 3}).index_put_({page, offset}, v);
}

Tensor paged_attention(const Tensor& q, const Pages& pages, const PageTable& table,
                       const AttentionOptions& o) {
  check(q, pages, table, o);
  if (!has_kernel(q, pages)) return composed::paged_attention(q, pages, table, o);
#if defined(LUCE_CUDA)
  if (q.is_cuda()) return cuda_paged_attention(q, pages, table, o);
#endif
  return cpu::paged_attention(q, pages, table, o);
}

Tensor composed::paged_attention(const Tensor& q_in, const Pages& pages, const PageTable& table,
                                 const AttentionOptions& o) {
  check(q_in, pages, table, o);
  const int64_t b = q_in.size(0), kv = pages.keys.size(1), d = q_in.size(2);
  const int64_t t = table.pages.size(1) * kPagePositions;
  const auto type = statistics_type(q_in.scalar_type());
  const auto gathered = [&](const Tensor& rows) {  // [P, ...] → [B, T, ...]
    return rows.index_select(0, table.pages.flatten())
        .to(type)
        .view({b, -1, rows.size(1), rows.size(2), rows.size(3)});
  };
  const Tensor keys = gathered(pages.keys).permute({0, 2, 3, 1, 4}).reshape({b, kv, d, t});
  const Tensor values = gathered(pages.values).transpose(1, 2).reshape({b, kv, t, d});
  Tensor z = at::matmul(q_in.to(type).reshape({b, kv, -1, d}), keys).mul_(o.scale);
  if (o.softcap > 0) z.div_(o.softcap).tanh_().mul_(o.softcap);
  const Tensor key = at::arange(t, table.lengths.options()), end = table.lengths.unsqueeze(1);
  Tensor hidden = key.ge(end);
  if (o.window > 0) hidden = hidden.logical_or_(key.lt(end - o.window));
  z.masked_fill_(hidden.view({b, 1, 1, t}), -std::numeric_limits<double>::infinity());
  return at::matmul(at::softmax(z, -1), values).reshape({b, -1, d}).to(q_in.scalar_type());
}

}  // namespace luce
