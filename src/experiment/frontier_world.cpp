#include "experiment/frontier_world.h"

#include <algorithm>
#include <cmath>

#include "experiment/online_runs.h"
#include "luce/base/random.h"
#include "luce/model/sampler.h"
#include "luce/rl/policy_kl.h"

namespace luce {
namespace {

constexpr int64_t kPrompts = 8;
constexpr double kEndShare = 0.06;  // of every step of a text

int64_t pick(const Random& random, uint64_t number, uint32_t place, int64_t n) {
  return std::min(n - 1,
                  static_cast<int64_t>(random.uniform(2, number, place) * static_cast<double>(n)));
}

std::vector<std::vector<int64_t>> repeated(const std::vector<Prompt>& prompts, int64_t count) {
  std::vector<std::vector<int64_t>> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(prompts[static_cast<size_t>(i) % prompts.size()].ids);
  return out;
}

}  // namespace

FrontierWorld::FrontierWorld(uint64_t seed) {
  const Random random(seed, Purpose::demo);
  for (uint64_t k = 0; k < 2; ++k) {
    worth_.emplace_back();
    for (int64_t v = 0; v < kTokens; ++v)
      worth_.back().push_back(random.normal(0, k, static_cast<uint32_t>(v)));
  }
  for (int64_t v = 0; v < kTokens; ++v) {  // six tokens may follow each
    after_.emplace_back();
    for (uint32_t j = 0; j < 6; ++j)
      after_.back().push_back(pick(random, static_cast<uint64_t>(v), j, kTokens));
  }
  std::vector<std::vector<int64_t>> ids;
  for (int64_t i = 0; i < kPrompts; ++i)
    ids.push_back({kBegin, pick(random, 1000 + static_cast<uint64_t>(i), 0, kTokens)});
  prompts = prompts_of(ids);
}

double FrontierWorld::reward(const std::vector<int64_t>& prompt,
                             const std::vector<int64_t>& answer) const {
  const auto& worth = worth_[static_cast<size_t>(prompt.back() % 2)];
  double sum = 0;
  for (const int64_t id : answer)
    if (id < kTokens) sum += worth[static_cast<size_t>(id)];
  return sum / std::sqrt(static_cast<double>(kLength));
}

std::vector<Example> FrontierWorld::texts(int64_t count, uint64_t seed) const {
  const Random random(seed, Purpose::test);
  std::vector<Example> out;
  for (int64_t i = 0; i < count; ++i) {
    const auto number = static_cast<uint64_t>(i);
    Example row{.prompt = prompts[static_cast<size_t>(i) % prompts.size()].ids,
                .completions = {{}},
                .row = i + 1,
                .roles = {Role::chosen}};
    int64_t at = row.prompt.back();
    for (uint32_t t = 0; t < kLength; ++t) {
      if (t > 0 && random.uniform(0, number, t) < kEndShare) {
        row.completions[0].push_back(kEnd);
        break;
      }
      const auto& next = after_[static_cast<size_t>(at)];
      at = next[static_cast<size_t>(pick(random, number, t, static_cast<int64_t>(next.size())))];
      row.completions[0].push_back(at);
    }
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<Example> FrontierWorld::pairs(const std::shared_ptr<const CausalLM>& policy,
                                          int64_t count, uint64_t seed) const {
  const auto starts = repeated(prompts, count);
  const auto samples =
      sample(*policy, starts, {.max_new_tokens = kLength, .num_samples = 2, .seed = seed});
  std::vector<Example> out;
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto &a = samples[2 * i].ids, &b = samples[2 * i + 1].ids;
    const double gap = reward(starts[i], a) - reward(starts[i], b);
    if (gap == 0) continue;
    out.push_back({.prompt = starts[i],
                   .completions = {gap > 0 ? a : b, gap > 0 ? b : a},
                   .row = static_cast<int64_t>(i) + 1});
  }
  return out;
}

FrontierPoint measure(const FrontierWorld& world, const std::shared_ptr<const CausalLM>& policy,
                      const std::shared_ptr<const CausalLM>& start, int64_t answers,
                      uint64_t seed) {
  const auto starts = repeated(world.prompts, answers);
  const auto samples =
      sample(*policy, starts, {.max_new_tokens = FrontierWorld::kLength, .seed = seed});
  std::vector<Example> rows;
  std::vector<double> rewards, kls;
  for (size_t i = 0; i < starts.size(); ++i) {
    rewards.push_back(world.reward(starts[i], samples[i].ids));
    rows.push_back({.prompt = starts[i],
                    .completions = {samples[i].ids},
                    .row = static_cast<int64_t>(i) + 1,
                    .roles = {Role::ranked}});
  }
  std::vector<const Example*> pointers;
  for (const auto& row : rows) pointers.push_back(&row);
  for (const auto& kl : policy_kl(*policy, *start, pointers)) kls.push_back(kl.exact);
  const Estimate r = mean_of(rewards), d = mean_of(kls);
  return {.reward = r.value, .reward_error = r.error, .kl = d.value, .kl_error = d.error};
}

}  // namespace luce
