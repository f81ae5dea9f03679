#include "luce/rl/policy_kl.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/ops/head.h"
#include "rl/batches.h"

namespace luce {

std::vector<KlEstimates> policy_kl(const CausalLM& policy, const CausalLM& reference,
                                   const std::vector<const Example*>& rows,
                                   int64_t micro_batch_tokens) {
  if (policy.config().vocab_size != reference.config().vocab_size)
    throw DataError(cat("the policy's vocabulary has ", policy.config().vocab_size,
                        " entries, the reference's ", reference.config().vocab_size));
  const at::NoGradGuard no_grad;
  std::vector<KlEstimates> out;
  for_batches(rows, micro_batch_tokens, {}, [&](const Batch& made) {
    const Batch batch = made.to(policy.options().device);
    const HeadSide p{target_hidden(policy, batch), policy.head_weight(), {}};
    const HeadSide q{target_hidden(reference, batch), reference.head_weight(), {}};
    const Tensor exact = on_cpu(head_divergence(p, q, {.kind = Divergence::forward_kl}));
    const Tensor ratio = on_cpu(head(p.hidden, p.weight, batch.targets, {}).logps) -
                         on_cpu(head(q.hidden, q.weight, batch.targets, {}).logps);
    const double* kl = exact.const_data_ptr<double>();
    const double* l = ratio.const_data_ptr<double>();
    for (size_t c = 0; c + 1 < batch.offset.size(); ++c) {
      KlEstimates sum;
      for (int64_t t = batch.offset[c]; t < batch.offset[c + 1]; ++t) {
        sum.exact += kl[t];
        sum.k1 += l[t];
        sum.k2 += l[t] * l[t] / 2;
        sum.k3 += std::expm1(-l[t]) + l[t];
      }
      out.push_back(sum);
    }
  });
  return out;
}

}  // namespace luce
