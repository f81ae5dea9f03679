// A small language, a reward of its texts, and the policy that all methods of the frontier start
// from. Letters:
//   x prompt, of two classes      y answer of T tokens      w_k(v) worth of token v in class k
//   R(x, y) = Σ_t w_{k(x)}(y_t) / √T                        of deviation about 1 under the start
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "luce/base/estimate.h"
#include "luce/data/dataset.h"
#include "luce/data/prompts.h"
#include "luce/model/causal_lm.h"

namespace luce {

struct FrontierWorld {
  static constexpr int64_t kTokens = 24, kBegin = 24, kEnd = 25, kVocabulary = 26;
  static constexpr int64_t kLength = 12;  // of an answer, at most

  explicit FrontierWorld(uint64_t seed);

  double reward(const std::vector<int64_t>& prompt, const std::vector<int64_t>& answer) const;
  /// Texts of the language, for the start: a walk over tokens, and an end after some of them.
  std::vector<Example> texts(int64_t count, uint64_t seed) const;
  /// Pairs of answers of a policy, the better one chosen; two equal rewards make no pair.
  std::vector<Example> pairs(const std::shared_ptr<const CausalLM>& policy, int64_t count,
                             uint64_t seed) const;

  std::vector<Prompt> prompts;

 private:
  std::vector<std::vector<double>> worth_;   // [2][kTokens]
  std::vector<std::vector<int64_t>> after_;  // [kTokens] tokens that may follow
};

/// Reward and distance of a policy, from fresh answers.
struct FrontierPoint {
  double reward = 0, reward_error = 0;  // mean and standard error
  double kl = 0, kl_error = 0;          // to the start, nats an answer: exact at every prefix
};
FrontierPoint measure(const FrontierWorld& world, const std::shared_ptr<const CausalLM>& policy,
                      const std::shared_ptr<const CausalLM>& start, int64_t answers, uint64_t seed);

}  // namespace luce
