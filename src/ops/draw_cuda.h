// Drawing on a GPU in f32 and bf16. Arguments were checked.
#pragma once

#include "luce/ops/draw.h"

namespace luce {

#if defined(LUCE_CUDA)
Drawn cuda_draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
                const DrawOptions& options, DrawWorkspace& workspace);
#endif

}  // namespace luce
