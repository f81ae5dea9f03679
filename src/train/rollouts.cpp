#include "luce/train/rollouts.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/estimate.h"
#include "luce/base/random.h"

namespace luce {
namespace {

/// Samples of one prompt have neighbouring numbers; more than this many of one would meet the next.
constexpr uint64_t kSamplesAPrompt = 1 << 16;

/// The unbiased standard deviation of the values that are there; 0 of fewer than two.
double deviation_of(const std::vector<double>& values) {
  std::vector<double> there;
  for (const double v : values)
    if (!std::isnan(v)) there.push_back(v);
  const Estimate e = mean_of(there);
  return e.error * std::sqrt(static_cast<double>(e.count));
}

}  // namespace

bool RolloutGroup::is_informative() const {
  double first = NAN;
  for (const double r : rewards) {
    if (std::isnan(r)) continue;
    if (!std::isnan(first) && r != first) return true;
    first = r;
  }
  return false;
}

RolloutSource::RolloutSource(std::vector<Prompt> prompts, std::shared_ptr<Sampler> sampler,
                             std::shared_ptr<Sampler> greedy, std::shared_ptr<Rewards> rewards,
                             std::shared_ptr<const Tokenizer> tokenizer,
                             const RolloutOptions& options)
    : prompts_(std::move(prompts)),
      sampler_(std::move(sampler)),
      greedy_(std::move(greedy)),
      rewards_(std::move(rewards)),
      tokenizer_(std::move(tokenizer)),
      options_(options) {
  if (prompts_.empty()) throw DataError("there are no prompts to sample from");
}

int64_t RolloutSource::place(int64_t taken) const {
  const auto n = static_cast<int64_t>(prompts_.size());
  if (!options_.shuffle) return taken % n;
  // The order of an epoch is asked for prompt by prompt; it is short beside the sampling.
  return Random(options_.seed, Purpose::shuffle)
      .permutation(static_cast<uint64_t>(taken / n), n)[static_cast<size_t>(taken % n)];
}

std::vector<RolloutGroup> RolloutSource::sampled(const std::vector<int64_t>& places,
                                                 int64_t first_number, uint64_t step,
                                                 Metrics& metrics) {
  std::vector<SampleRequest> requests;
  for (const int64_t p : places)
    requests.push_back({.prompt = prompts_[static_cast<size_t>(p)].ids,
                        .num_samples = options_.generations,
                        .first_sample = static_cast<uint64_t>(first_number++) * kSamplesAPrompt});
  auto samples = (*sampler_)(requests, step);
  std::vector<RolloutGroup> groups;
  for (size_t q = 0; q < places.size(); ++q) {
    RolloutGroup group{.prompt = places[q], .samples = std::move(samples[q])};
    if (static_cast<int64_t>(group.samples.size()) < options_.generations)
      metrics.add(
          "sampling/missing",
          static_cast<double>(options_.generations) - static_cast<double>(group.samples.size()), 0);
    if (!group.samples.empty()) groups.push_back(std::move(group));
  }
  if (greedy_) {
    for (auto& request : requests) request.num_samples = 1;
    auto best = (*greedy_)(requests, step);
    std::vector<RolloutGroup> lone;
    for (size_t q = 0; q < places.size(); ++q)
      lone.push_back({.prompt = places[q], .samples = std::move(best[q])});
    Metrics apart;  // the greedy completions are no part of the rollout's means
    reward(lone, apart);
    for (auto& group : groups)
      for (const auto& other : lone)
        if (other.prompt == group.prompt)
          group.greedy_reward = other.rewards.empty() ? NAN : other.rewards.front();
  }
  reward(groups, metrics);
  return groups;
}

void RolloutSource::reward(std::vector<RolloutGroup>& groups, Metrics& metrics) {
  std::vector<RewardInput> inputs;
  for (auto& group : groups) {
    const Prompt& prompt = prompts_[static_cast<size_t>(group.prompt)];
    for (const Sample& sample : group.samples) {
      group.texts.push_back(tokenizer_ ? tokenizer_->decode_completion(prompt.ids, sample.ids)
                                       : "");
      inputs.push_back({.prompt = prompt.text,
                        .completion = group.texts.back(),
                        .prompt_ids = prompt.ids,
                        .completion_ids = sample.ids,
                        .row = &prompt.columns,
                        .truncated = !sample.stopped});
    }
  }
  const RewardedCompletions earned = (*rewards_)(inputs, metrics);
  size_t c = 0;
  for (auto& group : groups)
    for (size_t i = 0; i < group.samples.size(); ++i, ++c) {
      group.rewards.push_back(earned.rewards[c]);
      group.steps.push_back(earned.steps.empty() ? std::vector<StepReward>() : earned.steps[c]);
      group.parts.emplace_back();
      for (const auto& part : earned.parts) group.parts.back().push_back(part[c]);
    }
}

CollectedRollout RolloutSource::collect(int64_t index) {
  CollectedRollout out{.index = index};
  std::vector<RolloutGroup> equal;
  for (int64_t round = 0; round <= options_.dynamic_sampling; ++round) {
    const auto missing = options_.prompts - static_cast<int64_t>(out.groups.size());
    if (missing == 0) break;
    std::vector<int64_t> places;
    const int64_t first = cursor_;
    for (int64_t i = 0; i < missing; ++i) places.push_back(place(cursor_++));
    for (auto& group : sampled(places, first, static_cast<uint64_t>(index), out.metrics)) {
      const bool keep = options_.dynamic_sampling == 0 || group.is_informative();
      (keep ? out.groups : equal).push_back(std::move(group));
    }
  }
  if (options_.dynamic_sampling > 0)
    out.metrics.add("dynamic_sampling/replaced", static_cast<double>(equal.size()), 1);
  if (out.groups.empty()) out.groups = std::move(equal);
  if (out.groups.empty())
    throw Error(Exit::service, "the sampler brought no completion of any prompt");
  record_rollout(out.groups, out.metrics);
  return out;
}

CollectedRollout RolloutSource::all() {
  CollectedRollout out;
  std::vector<int64_t> places;
  for (size_t p = 0; p < prompts_.size(); ++p) places.push_back(static_cast<int64_t>(p));
  out.groups = sampled(places, 0, 0, out.metrics);
  record_rollout(out.groups, out.metrics);
  return out;
}

void record_rollout(const std::vector<RolloutGroup>& groups, Metrics& metrics) {
  double shortest = INFINITY, longest = 0, shortest_ended = INFINITY, longest_ended = 0;
  int64_t completions = 0, ended = 0;
  for (const auto& group : groups) {
    for (const Sample& sample : group.samples) {
      const auto n = static_cast<double>(sample.ids.size());
      ++completions;
      metrics.add("completions/mean_length", n, 1);
      metrics.add("completions/clipped_ratio", sample.stopped ? 0 : 1, 1);
      shortest = std::min(shortest, n);
      longest = std::max(longest, n);
      if (!sample.stopped) continue;
      ++ended;
      metrics.add("completions/mean_terminated_length", n, 1);
      shortest_ended = std::min(shortest_ended, n);
      longest_ended = std::max(longest_ended, n);
    }
    const double deviation = deviation_of(group.rewards);
    double rewarded = 0;
    for (const double r : group.rewards) {
      if (std::isnan(r)) continue;
      metrics.add("reward", r, 1);
      rewarded += 1;
    }
    if (rewarded == 0) continue;
    metrics.add("reward_std", deviation, 1);
    metrics.add("frac_reward_zero_std", deviation == 0 ? rewarded : 0, rewarded);
  }
  if (completions == 0) return;
  metrics.set("completions/min_length", shortest);
  metrics.set("completions/max_length", longest);
  if (ended == 0) return;
  metrics.set("completions/min_terminated_length", shortest_ended);
  metrics.set("completions/max_terminated_length", longest_ended);
}

}  // namespace luce
