// The loop in one's own hands: DPO with the library's parts and without its trainer.
//
//   own_loop MODEL PAIRS.jsonl [STEPS]
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <iostream>

#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/model/roles.h"
#include "luce/train/optimizer.h"

using namespace luce;

void run(const std::string& folder, const std::string& pairs, int64_t steps) {
  const auto tokenizer = Tokenizer::load(folder);
  const Dataset data = load_dataset(pairs, tokenizer.get(), {.max_length = 64});
  const auto model = CausalLM::load(folder);
  const Reference reference(model->clone());
  Policy policy(model);
  AdamW optimizer(policy.parameters(), {});
  const Dpo dpo({.beta = 0.1});

  for (int64_t step = 0; step < steps; ++step) {
    std::vector<const Example*> rows;
    for (size_t i = 0; i < 4; ++i)
      rows.push_back(&data.examples[(4 * static_cast<size_t>(step) + i) % data.examples.size()]);
    const Batch batch = make_batch(rows);
    const Tensor frozen = reference.hidden(batch);
    const TokenValues ref{head(frozen, reference.head_weight(), batch.targets, {}).logps,
                          batch.offset};
    Metrics metrics;
    const auto gradient = [&](const HeadStats& stats, Range) {  // ∂loss/∂log-probs of the batch
      const at::AutoGradMode on(true);
      const Tensor logps = stats.logps.detach().requires_grad_(true);
      const Terms terms = dpo({{logps, batch.offset}, ref, batch.role, batch.group}, metrics);
      const Tensor loss = reduce(terms, totals_of(rows));
      loss.backward();
      std::cout << "step " << step + 1 << ", loss " << loss.item<double>() << "\n";
      return HeadGradients{.logps = logps.grad()};
    };
    policy.zero_gradients();
    auto pass = policy.forward(batch);
    Tensor d_hidden = at::zeros_like(pass.hidden);
    head_backward(pass.hidden.detach(), policy.model().head_weight(), batch.targets,
                  {0, batch.num_targets()}, {}, gradient, d_hidden, policy.head_gradient());
    policy.backward(pass, d_hidden);
    optimizer.step(1e-3, clip_factor(gradient_norm(policy.parameters()), 1.0));
  }
}

int main(int argc, char** argv) try {
  if (argc < 3) throw UsageError("usage: own_loop MODEL PAIRS.jsonl [STEPS]");
  run(argv[1], argv[2], argc > 3 ? std::stoll(argv[3]) : 8);
} catch (const Error& error) {
  std::cerr << error.what() << "\n";
  return static_cast<int>(error.code());
}
