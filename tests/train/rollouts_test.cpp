// Rollouts: which prompts, which numbers, what is kept, what is logged, what a checkpoint holds.
#include "luce/train/rollouts.h"

#include <cmath>
#include <set>

#include "luce/base/error.h"
#include "luce/train/online_rows.h"
#include "train/online.h"

namespace luce {
namespace {

using test::FakeSampler;

Sample of_length(int64_t n, bool stopped = true) {
  Sample s{.ids = std::vector<int64_t>(static_cast<size_t>(n), 4), .stopped = stopped};
  s.logps = s.tempered = s.drawn = std::vector<double>(static_cast<size_t>(n), -1.0);
  return s;
}

/// Completions as long as the sample's number within its prompt, plus one.
std::shared_ptr<FakeSampler> by_number() {
  return std::make_shared<FakeSampler>([](const auto&, uint64_t number, uint64_t) {
    return of_length(static_cast<int64_t>(number % 65536) + 1);
  });
}

double length_of(const RewardInput& input) {
  return static_cast<double>(input.completion_ids.size());
}

RolloutSource source(std::shared_ptr<Sampler> sampler, const RolloutOptions& options,
                     test::IdReward::Value reward = length_of,
                     std::shared_ptr<Sampler> greedy = nullptr) {
  return {test::id_prompts(5),
          std::move(sampler),
          std::move(greedy),
          test::one_reward(std::move(reward)),
          nullptr,
          options};
}

TEST(Rollouts, TakePromptsInOrderAndBeginAgain) {
  const auto sampler = by_number();
  auto from = source(sampler, {.prompts = 3, .generations = 2, .shuffle = false});
  EXPECT_EQ(from.collect(0).groups[2].prompt, 2);
  const auto second = from.collect(1);
  std::vector<int64_t> places;
  for (const auto& group : second.groups) places.push_back(group.prompt);
  EXPECT_EQ(places, (std::vector<int64_t>{3, 4, 0}));
  EXPECT_EQ(from.cursor(), 6);
}

TEST(Rollouts, ShuffleEveryEpochAndTakeEachPromptOnce) {
  auto from = source(by_number(), {.prompts = 5, .generations = 1, .seed = 3});
  std::vector<std::vector<int64_t>> orders;
  for (int64_t i = 0; i < 2; ++i) {
    std::vector<int64_t> places;
    for (const auto& group : from.collect(i).groups) places.push_back(group.prompt);
    orders.push_back(places);
    std::sort(places.begin(), places.end());
    EXPECT_EQ(places, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  }
  EXPECT_NE(orders[0], orders[1]);
}

TEST(Rollouts, NeverGiveTwoSamplesTheSameNumber) {
  const auto sampler = by_number();
  auto from = source(sampler, {.prompts = 7, .generations = 3, .shuffle = false});  // wraps around
  from.collect(0);
  from.collect(1);
  std::set<uint64_t> numbers;
  for (const auto& request : sampler->calls)
    for (uint64_t j = 0; j < 3; ++j) EXPECT_TRUE(numbers.insert(request.first_sample + j).second);
}

TEST(Rollouts, RecordLengthsAndRewardsUnderTheNamesOfTrl) {
  const auto sampler = std::make_shared<FakeSampler>([](const auto&, uint64_t number, uint64_t) {
    const auto j = static_cast<int64_t>(number % 65536);
    return of_length(2 * j + 1, j < 2);  // 1, 3 stopped, 5 cut
  });
  auto from = source(sampler, {.prompts = 2, .generations = 3, .shuffle = false});
  const Metrics m = from.collect(0).metrics;
  EXPECT_DOUBLE_EQ(m.mean("completions/mean_length"), 3);
  EXPECT_DOUBLE_EQ(m.mean("completions/min_length"), 1);
  EXPECT_DOUBLE_EQ(m.mean("completions/max_length"), 5);
  EXPECT_DOUBLE_EQ(m.mean("completions/mean_terminated_length"), 2);
  EXPECT_DOUBLE_EQ(m.mean("completions/max_terminated_length"), 3);
  EXPECT_DOUBLE_EQ(m.mean("completions/clipped_ratio"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(m.mean("reward"), 3);
  EXPECT_DOUBLE_EQ(m.mean("reward_std"), 2);  // of 1, 3, 5, unbiased
  EXPECT_DOUBLE_EQ(m.mean("frac_reward_zero_std"), 0);
}

TEST(Rollouts, CountGroupsWhoseRewardsAreEqual) {
  auto from = source(by_number(), {.prompts = 4, .generations = 2, .shuffle = false},
                     [](const RewardInput& input) {
                       return input.prompt_ids.size() == 1 ? 1.0 : length_of(input);
                     });
  EXPECT_DOUBLE_EQ(from.collect(0).metrics.mean("frac_reward_zero_std"), 0.25);
}

TEST(Rollouts, ReplacePromptsThatTeachNothing) {
  auto from =
      source(by_number(), {.prompts = 2, .generations = 2, .shuffle = false, .dynamic_sampling = 3},
             [](const RewardInput& input) {  // prompts 0 and 4 have one token
               return input.prompt_ids.size() == 1 ? 1.0 : length_of(input);
             });
  const auto rollout = from.collect(0);
  ASSERT_EQ(rollout.groups.size(), 2U);
  EXPECT_EQ(rollout.groups[0].prompt, 1);
  EXPECT_EQ(rollout.groups[1].prompt, 2);
  EXPECT_DOUBLE_EQ(rollout.metrics.mean("dynamic_sampling/replaced"), 1);
  EXPECT_EQ(from.cursor(), 3);
}

TEST(Rollouts, KeepEqualGroupsWhereThereIsNothingElse) {
  auto from =
      source(by_number(), {.prompts = 2, .generations = 2, .shuffle = false, .dynamic_sampling = 1},
             [](const RewardInput&) { return 1.0; });
  EXPECT_EQ(from.collect(0).groups.size(), 4U);
  EXPECT_EQ(from.cursor(), 4);
}

TEST(Rollouts, GoOnWithTheSamplesThatCouldBeHad) {
  class Failing : public Sampler {
   public:
    std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                                uint64_t) override {
      std::vector<std::vector<Sample>> out(requests.size());
      out[0] = {of_length(2)};
      return out;
    }
  };
  auto from =
      source(std::make_shared<Failing>(), {.prompts = 3, .generations = 2, .shuffle = false});
  const auto rollout = from.collect(0);
  ASSERT_EQ(rollout.groups.size(), 1U);
  EXPECT_EQ(rollout.groups[0].samples.size(), 1U);
  EXPECT_DOUBLE_EQ(rollout.metrics.sum("sampling/missing"), 5);
}

TEST(Rollouts, StopWhereNoSampleCouldBeHad) {
  class Silent : public Sampler {
   public:
    std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                                uint64_t) override {
      return std::vector<std::vector<Sample>>(requests.size());
    }
  };
  auto from = source(std::make_shared<Silent>(), {.prompts = 2, .generations = 2});
  EXPECT_EQ(test::message_of<Error>([&] { from.collect(0); }),
            "the sampler brought no completion of any prompt");
}

TEST(Rollouts, TakeGreedyRewardsBesideTheOthers) {
  const auto greedy =
      std::make_shared<FakeSampler>([](const auto&, uint64_t, uint64_t) { return of_length(9); });
  auto from =
      source(by_number(), {.prompts = 2, .generations = 2, .shuffle = false}, length_of, greedy);
  const auto rollout = from.collect(0);
  EXPECT_EQ(rollout.flat({1}).greedy_rewards, (std::vector<double>{9, 9}));
  EXPECT_DOUBLE_EQ(rollout.metrics.mean("reward"), 1.5);  // the greedy ones are no part of it
}

TEST(Rollouts, AreFlatForAlgorithms) {
  auto from = source(by_number(), {.prompts = 2, .generations = 2, .shuffle = false});
  CollectedRollout rollout = from.collect(0);
  rollout.groups[1].steps[1] = {{1, 0.5}, {2, 0.25}};
  rollout.groups[0].rewards[0] = NAN;
  const Rollout flat = rollout.flat({1});
  EXPECT_EQ(flat.offset, (std::vector<int64_t>{0, 1, 3, 4, 6}));
  EXPECT_EQ(flat.group, (std::vector<int64_t>{0, 2, 4}));
  EXPECT_TRUE(std::isnan(flat.rewards[0]));
  EXPECT_EQ(flat.token_rewards, (std::vector<double>{0, 0, 0, 0, 0.5, 0.25}));
  EXPECT_EQ(flat.truncated, (std::vector<bool>{false, false, false, false}));
  rollout.groups[1].steps[1] = {{3, 0.5}};
  EXPECT_EQ(test::message_of<DataError>([&] { rollout.flat({1}); }),
            "a reward gave 0.5 for a step that ends after token 3 of a completion of 2 tokens");
}

TEST(Rollouts, AreTheSameBackFromACheckpoint) {
  auto from = source(by_number(), {.prompts = 2, .generations = 2, .shuffle = false});
  CollectedRollout rollout = from.collect(7);
  rollout.groups[0].samples[0].drawn[0] = -0.1 / 3;
  rollout.groups[0].rewards[1] = NAN;
  rollout.groups[1].steps[0] = {{1, 0.125}};
  const Json saved = parse_json(rollout.save().dump(), "x");
  EXPECT_EQ(CollectedRollout::load(saved).save().dump(), saved.dump());
  const auto back = CollectedRollout::load(saved);
  EXPECT_EQ(back.index, 7);
  EXPECT_EQ(back.groups[0].samples[0].drawn[0], -0.1 / 3);
  EXPECT_TRUE(std::isnan(back.groups[0].rewards[1]));
  EXPECT_EQ(
      test::message_of<DataError>([] { CollectedRollout::load(Json::object()); }).substr(0, 34),
      "the checkpoint holds no rollout: [");
}

CollectedRollout rewarded(const std::vector<std::vector<double>>& rewards) {
  CollectedRollout out;
  for (const auto& group : rewards) {
    RolloutGroup g{.prompt = static_cast<int64_t>(out.groups.size())};
    for (size_t i = 0; i < group.size(); ++i) {
      g.samples.push_back(of_length(static_cast<int64_t>(i) + 1, i != 2));
      g.rewards.push_back(group[i]);
    }
    out.groups.push_back(std::move(g));
  }
  return out;
}

TEST(PairsOfSamples, AreTheBestAndTheWorst) {
  const auto prompts = test::id_prompts(3);
  const auto pairs = pairs_of(rewarded({{1, 3, 2}, {1, 1, 1}, {NAN, 0, 2}}), prompts, {});
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].prompt, prompts[0].ids);
  EXPECT_EQ(pairs[0].completions[0].size(), 2U);
  EXPECT_EQ(pairs[0].completions[1].size(), 1U);
  EXPECT_DOUBLE_EQ(pairs[0].margin, 2);
  EXPECT_EQ(pairs[1].row, 3);
  EXPECT_EQ(pairs[1].completions[0].size(), 3U);
  // The third completion was cut short: with a penalty it is the worst one.
  const auto punished = pairs_of(rewarded({{1, 3, 2}}), prompts, {.missing_eos_penalty = 5});
  EXPECT_EQ(punished[0].completions[1].size(), 3U);
  EXPECT_DOUBLE_EQ(punished[0].margin, 6);
}

TEST(Demonstrations, AreTheBestOfEachTheTopOrThoseAboveAThreshold) {
  const auto prompts = test::id_prompts(3);
  const auto rollout = rewarded({{1, 3, 2}, {0, NAN, 0}, {5, 4, 6}});
  const auto lengths = [&](const RejectionOptions& options) {
    std::vector<std::pair<int64_t, size_t>> out;
    for (const auto& row : demonstrations_of(rollout, prompts, options))
      out.emplace_back(row.row, row.completions.at(0).size());
    return out;
  };
  using Rows = std::vector<std::pair<int64_t, size_t>>;
  EXPECT_EQ(lengths({.keep = "best"}), (Rows{{1, 2}, {2, 1}, {3, 3}}));
  EXPECT_EQ(lengths({.keep = "top", .top = 4}), (Rows{{1, 2}, {3, 1}, {3, 2}, {3, 3}}));
  EXPECT_EQ(lengths({.keep = "threshold", .threshold = 3}), (Rows{{1, 2}, {3, 1}, {3, 2}, {3, 3}}));
  EXPECT_EQ(lengths({.keep = "threshold", .threshold = 7}), Rows{});
}

}  // namespace
}  // namespace luce
