// The `luce` program with one loss more: the hinge of SLiC-HF (Zhao et al., arXiv:2305.10425) on
// the margin of two log-ratios.
#include <ATen/ATen.h>

#include "luce/cli.h"
#include "luce/loss/pair.h"

struct HingeOptions {
  double beta = 0.1;
};

void describe(luce::Schema& s, HingeOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

struct Hinge : luce::PairLoss {
  using Options = HingeOptions;
  static luce::LossInfo info() {
    return {.name = "my_hinge",
            .title = "Hinge on the margin",
            .paper = "Zhao et al. 2023, arXiv:2305.10425",
            .formula = "loss = max(0, 1 - beta * [log-ratio(y+) - log-ratio(y-)])",
            .notes = "The gradient is 0 where the margin is above 1."};
  }
  explicit Hinge(const Options& o) : beta(o.beta) {}
  luce::Needs needs() const override { return {.reference = true}; }
  double reward_scale() const override { return beta; }
  luce::Tensor values(const luce::PairInputs& pair, luce::Metrics&) const override {
    const auto u = pair.log_ratio();
    return at::relu(1 - beta * (u.chosen - u.rejected));
  }
  double beta;
};

int main(int argc, char** argv) {
  auto registry = luce::Registry::with_builtins();
  registry.add<Hinge>();
  return luce::run_cli(argc, argv, registry);
}
