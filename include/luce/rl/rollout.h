// What was sampled in one go and what it earned, as an algorithm sees it: flat and ragged, on the
// host, without padding. Log-probs are in nats.
#pragma once

#include <cstdint>
#include <vector>

namespace luce {

/// C completions of Q prompts, M tokens. Lists of what an algorithm does not need stay empty.
struct Rollout {
  std::vector<int64_t> offset = {0};  // [C+1] completion c owns tokens [offset[c], offset[c+1])
  std::vector<int64_t> group = {0};   // [Q+1] prompt q owns completions [group[q], group[q+1])
  std::vector<double> rewards;        // [C] the weighted sum; NaN: it has none and takes no part
  std::vector<std::vector<double>> reward_parts = {};  // [K][C] what each reward function gave
  std::vector<double> reward_weights = {};             // [K]
  std::vector<double> token_rewards = {};   // [M] earned on the way, beside the completion's reward
  std::vector<bool> truncated = {};         // [C] the length ran out
  std::vector<double> old_logps = {};       // [M] of the policy before the update, tempered
  std::vector<double> ref_logps = {};       // [M] of the reference, tempered
  std::vector<double> values = {};          // [M] V of the state that each token was drawn in
  std::vector<double> greedy_rewards = {};  // [Q] of the greedy completion

  int64_t num_completions() const { return static_cast<int64_t>(offset.size()) - 1; }
  int64_t num_groups() const { return static_cast<int64_t>(group.size()) - 1; }
  int64_t num_tokens() const { return offset.back(); }
  int64_t length(int64_t c) const {
    return offset[static_cast<size_t>(c) + 1] - offset[static_cast<size_t>(c)];
  }
};

/// What a rollout is worth to the policy.
struct Advantages {
  std::vector<double> advantages;    // [M]
  std::vector<double> returns = {};  // [M] what values are trained towards; empty without values
  std::vector<bool> counted;         // [C] has a reward: means over completions count it
  std::vector<bool> trained;         // [C] its tokens are in the loss; a subset of the counted
};

}  // namespace luce
