// The `luce` program with a loss that is one expression: the exponential loss of the family in Tang
// et al., arXiv:2402.05749.
#include <ATen/ATen.h>

#include "luce/cli.h"
#include "luce/loss/pair.h"

int main(int argc, char** argv) {
  auto registry = luce::Registry::with_builtins();
  registry.add_pair_loss({.name = "my_exponential",
                          .title = "Exponential loss of the margin",
                          .paper = "Tang et al. 2024, arXiv:2402.05749",
                          .formula = "loss = exp(-0.1 [u+ - u-])",
                          .notes = "A pair that is ranked wrongly pulls without bound."},
                         {.reference = true}, [](const luce::PairInputs& pair, luce::Metrics&) {
                           const auto u = pair.log_ratio();
                           return at::exp(-0.1 * (u.chosen - u.rejected));
                         });
  return luce::run_cli(argc, argv, registry);
}
