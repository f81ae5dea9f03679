// Attention to pages on a CPU in f32 and bf16. Arguments were checked.
#pragma once

#include "luce/ops/paged_attention.h"

namespace luce::cpu {

Tensor paged_attention(const Tensor& q, const Pages& pages, const PageTable& table,
                       const AttentionOptions& options);
void write_pages(const Pages& pages, const Tensor& page, const Tensor& offset, const Tensor& k,
                 const Tensor& v);

}  // namespace luce::cpu
