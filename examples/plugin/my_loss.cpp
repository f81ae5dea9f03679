// A loss in a shared object: FocalPO (Liu et al., arXiv:2501.06645).
#include <ATen/ATen.h>

#include "luce/loss/plugin.h"
#include "luce/loss/registry.h"

struct FocalOptions {
  double beta = 0.1, gamma = 0.05;
};
void describe(luce::Schema& s, FocalOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
  s.field("gamma", o.gamma, "how much less a pair ranked wrongly weighs; 0 is DPO").at_least(0);
}

struct Focal : luce::ReferencePairLoss<FocalOptions> {
  using ReferencePairLoss::ReferencePairLoss;
  static luce::LossInfo info() {
    return {.name = "my_focal",
            .title = "FocalPO",
            .paper = "Liu et al. 2025, arXiv:2501.06645",
            .formula = "loss = -p^gamma log p,   p = sigma(beta [u+ - u-])",
            .notes = "DPO pulls hardest at pairs that are ranked wrongly; here they weigh less."};
  }
  luce::Tensor values(const luce::PairInputs& pair, luce::Metrics&) const override {
    const auto u = pair.score();
    const auto log_p = at::log_sigmoid(options_.beta * (u.chosen - u.rejected));
    return -at::exp(options_.gamma * log_p) * log_p;
  }
};

void add_losses(luce::Registry& registry) { registry.add<Focal>(); }
LUCE_PLUGIN(add_losses);
