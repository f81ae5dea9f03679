// Online training inside an experiment: prompts and rewards of token ids, f32 models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "luce/base/json.h"
#include "luce/data/prompts.h"
#include "luce/model/causal_lm.h"
#include "luce/rl/reward_function.h"

namespace luce {

/// A Llama of two blocks, 64 wide, with tied matrices.
std::shared_ptr<CausalLM> small_llama(int64_t vocabulary, int64_t context, int64_t eos,
                                      uint64_t seed);

/// The reward of a completion, by its ids.
using IdReward = std::function<double(const std::vector<int64_t>& prompt,
                                      const std::vector<int64_t>& completion)>;

struct OnlineRun {
  Json algorithm;  // {"type": …, its options}, as in a config
  int64_t prompts = 16, generations = 8, new_tokens = 8, steps = 100;
  double learning_rate = 1e-3;  // constant
  double value_learning_rate = 0;
  uint64_t seed = 1;
  std::function<void(int64_t done)> after_step = {};
};

/// Trains the model on its own samples; where a reference is needed it is a copy of the model as it
/// is now. The value model, where there is one, is a head on the policy's trunk.
void train_online(const std::shared_ptr<CausalLM>& model, const std::vector<Prompt>& prompts,
                  const IdReward& reward, const OnlineRun& run);

/// Prompts of token ids.
std::vector<Prompt> prompts_of(const std::vector<std::vector<int64_t>>& ids);

}  // namespace luce
