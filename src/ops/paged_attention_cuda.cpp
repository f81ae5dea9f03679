// Attention to pages on a GPU: pages are read where they lie, and nothing is asked of the device.
#if defined(LUCE_CUDA)
#include "ops/paged_attention_cuda.h"

#include <ATen/ATen.h>

#include "ops/cuda_launch.h"

namespace luce {
namespace {

static_assert(kPagePositions == cuda::kPagePositions);

cuda::PageRows page_rows(const Pages& pages, const char* where) {
  return {.type = kernel_type(pages.keys, where),
          .keys = pages.keys.data_ptr(),
          .values = pages.values.data_ptr(),
          .kv_heads = pages.keys.size(1),
          .width = pages.keys.size(2),
          .keys_page = pages.keys.stride(0),
          .keys_head = pages.keys.stride(1),
          .values_page = pages.values.stride(0),
          .values_head = pages.values.stride(1)};
}

/// Heads side by side in rows, which may lie apart.
Tensor with_dense_heads(const Tensor& t) {
  const bool dense = t.stride(2) == 1 && t.stride(1) == t.size(2);
  return dense ? t : t.contiguous();
}

Tensor on_device_of(const Tensor& like, const Tensor& t) {
  return t.to(like.device()).contiguous();
}

}  // namespace

bool cuda_pages_covers(const Pages& pages) {
  const auto aligned = [&](int64_t stride) { return stride * pages.keys.element_size() % 16 == 0; };
  return pages.keys.size(2) >= 1 && pages.keys.size(2) <= 256 && aligned(pages.keys.stride(0)) &&
         aligned(pages.keys.stride(1)) &&
         reinterpret_cast<uintptr_t>(pages.keys.const_data_ptr()) % 16 == 0;
}

Tensor cuda_paged_attention(const Tensor& q_in, const Pages& pages, const PageTable& table,
                            const AttentionOptions& o) {
  const c10::cuda::CUDAGuard device(q_in.device());
  const Tensor q = q_in.contiguous(), out = at::empty_like(q);
  if (q.numel() == 0) return out;
  const Tensor columns = on_device_of(q, table.pages), lengths = on_device_of(q, table.lengths);
  const cuda::PageRows rows = page_rows(pages, "paged_attention");
  const cuda::PageQueries queries{.rows = q.size(0),
                                  .heads = q.size(1),
                                  .table = columns.const_data_ptr<int64_t>(),
                                  .lengths = lengths.const_data_ptr<int64_t>(),
                                  .columns = columns.size(1),
                                  .scale = o.scale,
                                  .softcap = o.softcap,
                                  .window = o.window};
  const Tensor partials = at::empty({cuda::paged_attention_partials(rows, queries)},
                                    q.options().dtype(statistics_type(q.scalar_type())));
  check_launch(cuda::paged_attention(rows, queries, q.data_ptr(), partials.data_ptr(),
                                     out.data_ptr(), stream_of(q)),
               "paged_attention");
  return out;
}

void cuda_write_pages(const Pages& pages, const Tensor& page_in, const Tensor& offset_in,
                      const Tensor& k_in, const Tensor& v_in) {
  const c10::cuda::CUDAGuard device(pages.keys.device());
  const Tensor k = with_dense_heads(k_in), v = with_dense_heads(v_in),
               page = on_device_of(pages.keys, page_in),
               offset = on_device_of(pages.keys, offset_in);
  check_launch(
      cuda::write_pages(page_rows(pages, "write_pages"), k.size(0), page.const_data_ptr<int64_t>(),
                        offset.const_data_ptr<int64_t>(), k.data_ptr(), k.stride(0), v.data_ptr(),
                        v.stride(0), stream_of(pages.keys)),
      "write_pages");
}

}  // namespace luce
#endif
