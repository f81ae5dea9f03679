// The `luce` program with a reward that is one function: 1 for an answer that ends as a sentence.
#include "luce/cli.h"
#include "luce/rl/reward_registry.h"

int main(int argc, char** argv) {
  auto registry = luce::Registry::with_builtins();
  registry.part<luce::RewardFunctions>().add(
      "ends_well", [](const luce::RewardInput& answer) -> std::optional<double> {
        if (answer.completion.empty()) return {};  // no value, which is not a value of 0
        return answer.completion.ends_with('.') ? 1 : 0;
      });
  return luce::run_cli(argc, argv, registry);
}
