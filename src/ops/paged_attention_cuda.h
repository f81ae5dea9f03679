// Attention to pages on a GPU in f32 and bf16. Arguments were checked.
#pragma once

#include "luce/ops/paged_attention.h"

namespace luce {

#if defined(LUCE_CUDA)
/// Whether the kernels take heads as wide as these.
bool cuda_pages_covers(const Pages& pages);
Tensor cuda_paged_attention(const Tensor& q, const Pages& pages, const PageTable& table,
                            const AttentionOptions& options);
void cuda_write_pages(const Pages& pages, const Tensor& page, const Tensor& offset, const Tensor& k,
                      const Tensor& v);
#endif

}  // namespace luce
