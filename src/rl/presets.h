// The built-in algorithms: one class, and how their defaults differ.
#pragma once

#include "luce/rl/algorithms.h"

namespace luce {

void add_policy_gradients(Algorithms& algorithms);  // ppo, rloo, reinforce and kin
void add_grpo_family(Algorithms& algorithms);

}  // namespace luce
