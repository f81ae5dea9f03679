#include "rl/batches.h"

#include <ATen/ATen.h>

#include "luce/loss/loss.h"
#include "luce/ops/head.h"

namespace luce {

Tensor target_hidden(const CausalLM& model, const Batch& batch) {
  return model.trunk_at(batch.head_rows, model.embed(batch.tokens), batch.positions,
                        batch.segments());
}

Tensor on_cpu(const Tensor& t) { return t.to(at::kCPU, at::kDouble).contiguous(); }

Tensor completion_logps(const CausalLM& model, const Batch& made) {
  const Batch batch = made.to(model.options().device);
  const HeadStats stats = head(target_hidden(model, batch), model.head_weight(), batch.targets, {});
  return on_cpu(TokenValues{stats.logps, batch.offset}.sum());
}

}  // namespace luce
