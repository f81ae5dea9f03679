// Binary classifier optimization, arXiv:2404.04656 eq. 9
//   r = β u, u = log π(y) − log π_ref(y)
//   desirable    ℓ = −log σ(r − δ)
//   undesirable  ℓ = −log σ(−(r − δ))      δ: running mean of all rewards, this step's included
#include "luce/loss/bco.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"

namespace luce {

void describe(Schema& s, BcoOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

LossInfo Bco::info() {
  return {.name = "bco",
          .aliases = {},
          .title = "Binary classifier optimization",
          .paper = "Jung et al. 2024, arXiv:2404.04656, eq. 9",
          .formula =
              "r = beta * u, delta = running mean of r\n"
              "desirable:   loss = -log sigmoid(r - delta)\n"
              "undesirable: loss = -log sigmoid(-(r - delta))",
          .notes =
              "delta is brought up to date with the rewards of the whole step before it "
              "is used, so the loss couples the step, and is kept in checkpoints. The "
              "density ratio of the paper is not part of it. Answers of pairs count one "
              "by one.",
          .weights =
              "desirable beta sigmoid(-(r - delta)), undesirable beta sigmoid(r - "
              "delta)"};
}

void Bco::observe(const GroupInputs& step) {
  const Tensor r = options_.beta * unpaired_inputs(step).log_ratio().detach();
  const auto more = static_cast<double>(r.numel());
  if (more == 0) return;
  count_ += more;
  delta_ += (r.sum().item<double>() - more * delta_) / count_;
}

void Bco::load_state(const Json& state) {
  if (!state.is_object() || !state.contains("delta") || !state.contains("rewards"))
    throw DataError(cat("the checkpoint holds no running mean of bco's rewards: ", state.dump()));
  delta_ = state["delta"].get<double>();
  count_ = state["rewards"].get<double>();
}

Tensor Bco::values(const UnpairedInputs& x, Metrics& metrics) const {
  metrics.add("delta", delta_, 1);
  const Tensor shifted = options_.beta * x.log_ratio() - delta_;
  return -at::log_sigmoid(at::where(x.desirable.gt(0), shifted, -shifted));
}

}  // namespace luce
