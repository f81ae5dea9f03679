// A loss of one's own, beside the built-in ones: the hinge of SLiC-HF (Zhao et al.,
// arXiv:2305.10425) on the margin of two log-ratios. It has a name, options and errors like any
// other loss.
//
//   my_loss [loss.key=value ...]        for example  my_loss loss.type=dpo loss.beta=0.3
#include <ATen/ATen.h>

#include <iostream>

#include "luce/base/error.h"
#include "luce/loss/pair.h"
#include "luce/loss/registry.h"

struct HingeOptions {
  double beta = 0.1;
};

void describe(luce::Schema& s, HingeOptions& o) {
  s.field("beta", o.beta, "strength of the pull towards the reference, per nat").above(0);
}

class Hinge : public luce::PairLoss {
 public:
  using Options = HingeOptions;
  static luce::LossInfo info() {
    return {.name = "my_hinge",
            .aliases = {},
            .title = "Hinge on the margin",
            .paper = "Zhao et al. 2023, arXiv:2305.10425",
            .formula = "loss = max(0, 1 - beta * [log-ratio(y+) - log-ratio(y-)])",
            .notes = ""};
  }

  explicit Hinge(const Options& options) : options_(options) {}
  luce::Needs needs() const override { return {.reference = true}; }
  luce::Tensor values(const luce::PairInputs& pair, luce::Metrics&) const override {
    const auto u = pair.log_ratio();
    return at::relu(1 - options_.beta * (u.chosen - u.rejected));
  }

 private:
  Options options_;
};

int main(int argc, char** argv) {
  try {
    luce::Registry registry = luce::Registry::with_builtins();
    registry.add<Hinge>();
    auto config = luce::Document::of({{"loss", {{"type", "my_hinge"}}}}, "my_loss");
    for (int i = 1; i < argc; ++i) config.override_with(argv[i]);
    const auto loss = registry.make_loss(config);

    // One pair: three tokens were preferred to two. The policy has moved by 2 nats in their favour.
    const at::Tensor logps = at::tensor({-1.0, -1.0, -1.0, -3.0, -3.0}).requires_grad_();
    luce::GroupInputs inputs;
    inputs.logps = {logps, {0, 3, 5}};
    inputs.ref_logps = {at::tensor({-1.0, -1.0, -2.0, -3.0, -2.0}), {0, 3, 5}};
    inputs.role = {luce::Role::chosen, luce::Role::rejected};
    inputs.group = {0, 2};

    luce::Metrics metrics;
    const at::Tensor value = luce::reduce((*loss)(inputs, metrics), {.items = 1});
    value.backward();
    std::cout << "loss " << value.item<double>() << ", gradient of the first token's log-prob "
              << logps.grad()[0].item<double>() << '\n';
    return 0;
  } catch (const luce::Error& error) {
    std::cerr << error.what() << '\n';
    return static_cast<int>(error.code());
  }
}
