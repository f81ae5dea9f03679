// What tests of online training share: samplers and rewards whose answers are known.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <vector>

#include "luce/train/rl_task.h"
#include "support/support.h"

namespace luce::test {

/// Gives made-up completions: of prompt p, sample j, step s, what `make` says.
class FakeSampler : public Sampler {
 public:
  using Make =
      std::function<Sample(const std::vector<int64_t>& prompt, uint64_t number, uint64_t step)>;
  explicit FakeSampler(Make make) : make_(std::move(make)) {}
  std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                              uint64_t step) override {
    std::vector<std::vector<Sample>> out;
    for (const auto& request : requests) {
      out.emplace_back();
      for (int64_t j = 0; j < request.num_samples; ++j)
        out.back().push_back(
            make_(request.prompt, request.first_sample + static_cast<uint64_t>(j), step));
      calls.push_back(request);
    }
    return out;
  }
  std::vector<SampleRequest> calls;

 private:
  Make make_;
};

/// A reward that is a function of the ids.
class IdReward : public RewardFunction {
 public:
  using Value = std::function<double(const RewardInput&)>;
  explicit IdReward(Value value) : value_(std::move(value)) {}
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override {
    std::vector<RewardValue> out;
    for (const auto& input : inputs) out.push_back({.value = value_(input)});
    return out;
  }

 private:
  Value value_;
};

inline std::shared_ptr<Rewards> one_reward(IdReward::Value value) {
  return std::make_shared<Rewards>(std::vector<NamedReward>{
      {.name = "made", .function = std::make_shared<IdReward>(std::move(value))}});
}

/// Prompts of ids, for the small model.
inline std::vector<Prompt> id_prompts(int64_t count, int64_t vocabulary = 29) {
  std::vector<Prompt> out;
  for (int64_t i = 0; i < count; ++i) {
    Prompt p{.row = i + 1};
    for (int64_t j = 0; j <= i % 4; ++j) p.ids.push_back(3 + (7 * i + 5 * j) % (vocabulary - 3));
    p.columns = Json::object();
    out.push_back(std::move(p));
  }
  return out;
}

/// REINFORCE with the group's mean as baseline: the least that an algorithm can be.
class PlainAlgorithm : public Algorithm {
 public:
  explicit PlainAlgorithm(int64_t epochs = 1, int64_t minibatches = 1, bool values = false)
      : epochs_(epochs), minibatches_(minibatches), values_(values) {}
  AlgorithmNeeds needs() const override { return {.values = values_}; }
  int64_t epochs() const override { return epochs_; }
  int64_t minibatches() const override { return minibatches_; }
  Advantages advantages(const Rollout& r, Metrics&) const override {
    Advantages out;
    for (int64_t q = 0; q < r.num_groups(); ++q) {
      double sum = 0, n = 0;
      const auto each = [&](const auto& fn) {
        for (int64_t c = r.group[static_cast<size_t>(q)]; c < r.group[static_cast<size_t>(q) + 1];
             ++c)
          fn(c, r.rewards[static_cast<size_t>(c)]);
      };
      each([&](int64_t, double reward) {
        if (std::isnan(reward)) return;
        sum += reward;
        n += 1;
      });
      each([&](int64_t c, double reward) {
        const bool has = !std::isnan(reward);
        out.counted.push_back(has);
        out.trained.push_back(has);
        for (int64_t t = 0; t < r.length(c); ++t) {
          out.advantages.push_back(has ? reward - sum / n : 0);
          if (values_) out.returns.push_back(has ? reward : NAN);
        }
      });
    }
    return out;
  }
  Tensor operator()(const PolicyInputs& in, Metrics&) const override {
    const Tensor loss = -in.advantages * (in.logps.values - in.old_logps).exp();
    return in.importance.defined() ? loss * in.importance : loss;
  }

 private:
  int64_t epochs_, minibatches_;
  bool values_;
};

}  // namespace luce::test
