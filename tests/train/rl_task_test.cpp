// Online training: its gradient, that sampler and trainer agree, resuming, running ahead.
#include "luce/train/rl_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "luce/base/error.h"
#include "luce/train/trainer.h"
#include "train/online.h"

namespace luce {
namespace {

using test::FakeSampler;
using test::PlainAlgorithm;

struct Made {
  std::shared_ptr<CausalLM> model;
  std::unique_ptr<RlTask> task;
};

struct Settings {
  at::ScalarType dtype = at::kDouble;
  bool batch_invariant = false, ahead = false;
  double temperature = 1;
  int64_t epochs = 1, minibatches = 1, prompts = 4, generations = 3;
  int64_t micro_batch_tokens = 16384;
  BatchOptions batch = {};
  int64_t chunk_bytes = int64_t{64} << 20;
  std::string critic = "";  // own, shared
  ImportanceOptions importance = {};
  int64_t max_staleness = 1;
  std::shared_ptr<Sampler> sampler = nullptr;
};

double odd_tokens(const RewardInput& input) {
  double count = 0;
  for (const int64_t id : input.completion_ids) count += static_cast<double>(id % 2);
  return count / static_cast<double>(input.completion_ids.size());
}

std::shared_ptr<CausalLM> model_for(const Settings& s) {
  const auto small = test::small_model(s.dtype);
  if (!s.batch_invariant) return small;
  test::TemporaryFolder folder;
  small->save(folder.path());
  return CausalLM::load(folder.path(), {.dtype = s.dtype, .batch_invariant = true});
}

Made make(const Settings& s = {}) {
  Made out;
  out.model = model_for(s);
  const auto snapshot = s.ahead ? out.model->clone() : nullptr;
  const std::shared_ptr<const CausalLM> sampled = snapshot ? snapshot : out.model;
  const auto sampler =
      s.sampler ? s.sampler
                : std::make_shared<EngineSampler>(
                      sampled, SampleOptions{.max_new_tokens = 6, .temperature = s.temperature});
  RolloutSource source(test::id_prompts(7), sampler, nullptr, test::one_reward(odd_tokens), nullptr,
                       {.prompts = s.prompts, .generations = s.generations});
  std::optional<Critic> critic;
  if (s.critic == "shared") critic.emplace(*out.model, 3);
  if (s.critic == "own") {
    test::TemporaryFolder folder;
    out.model->save(folder.path());
    critic.emplace(ScoreModel::start(folder.path(), {}, 3, {.dtype = s.dtype}));
  }
  out.task = std::make_unique<RlTask>(
      Policy(out.model), std::nullopt, std::move(critic),
      std::make_unique<PlainAlgorithm>(s.epochs, s.minibatches, !s.critic.empty()),
      std::make_unique<RolloutStream>(std::move(source), snapshot), nullptr,
      RlOptions{.micro_batch_tokens = s.micro_batch_tokens,
                .batch = s.batch,
                .chunk_bytes = s.chunk_bytes,
                .temperature = s.temperature,
                .max_completion_length = 6,
                .importance = s.importance,
                .max_staleness = s.max_staleness});
  return out;
}

/// All gradients of a step in one vector, f64.
Tensor gradients(RlTask& task, int64_t step, Metrics& metrics) {
  task.trained().zero_gradients();
  for (const auto& c : task.companions())
    for (const auto& p : *c.parameters) p.grad.zero_();
  const Step work = task.next(step);
  for (size_t i = 0; i < work.micro_batches.size(); ++i) task.accumulate(work, i, metrics);
  std::vector<Tensor> all;
  for (const auto& p : task.trained().parameters()) all.push_back(p.grad.view(-1));
  for (const auto& c : task.companions())
    for (const auto& p : *c.parameters) all.push_back(p.grad.view(-1));
  return at::cat(all).to(at::kDouble);
}
Tensor gradients(RlTask& task, int64_t step = 0) {
  Metrics metrics;
  return gradients(task, step, metrics);
}

TEST(RlTask, GradientDoesNotDependOnHowAStepIsCut) {
  const Tensor whole = gradients(*make().task);
  EXPECT_GT(whole.norm().item<double>(), 1e-3);
  const auto same = [&](const Settings& s) {
    return test::relative_distance(gradients(*make(s).task), whole);
  };
  EXPECT_LT(same({.micro_batch_tokens = 12}), 1e-11);  // less than a group
  EXPECT_LT(same({.micro_batch_tokens = 30}), 1e-11);
  EXPECT_LT(same({.batch = {.prefix_sharing = false}}), 1e-11);
  EXPECT_LT(same({.chunk_bytes = 29 * 8 * 3}), 1e-11);
}

TEST(RlTask, GradientIsThatOfTheWeightedLoss) {
  // ∂/∂θ Σ_c −A_c Σ_t r_t / M by central differences along a direction.
  Made made = make({.temperature = 0.7});
  Metrics metrics;
  const Tensor g = gradients(*made.task, 0, metrics);
  std::vector<Tensor> direction;
  double slope = 0;
  int64_t at = 0;
  for (const auto& p : made.model->parameters()) {
    direction.push_back(at::sin(at::arange(p.work.numel(), at::kDouble) + static_cast<double>(at)));
    slope += (g.narrow(0, at, p.work.numel()) * direction.back()).sum().item<double>();
    at += p.work.numel();
  }
  const auto loss_at = [&](double distance) {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < direction.size(); ++i)
      made.model->parameters()[i].work.detach().add_(
          direction[i].view_as(made.model->parameters()[i].work), distance);
    Metrics found;
    const Step step = made.task->next(0);  // the same rollout
    for (size_t k = 0; k < step.micro_batches.size(); ++k) {
      const at::AutoGradMode grad(true);
      made.task->accumulate(step, k, found);
    }
    for (size_t i = 0; i < direction.size(); ++i)
      made.model->parameters()[i].work.detach().sub_(
          direction[i].view_as(made.model->parameters()[i].work), distance);
    return found.sum("loss");
  };
  const double h = 1e-5;
  EXPECT_NEAR((loss_at(h) - loss_at(-h)) / (2 * h), slope, 1e-7 * std::max(1.0, std::abs(slope)));
}

TEST(RlTask, SamplerAndTrainerAgreeOnEveryToken) {
  const auto gap = [](const Settings& s) {
    Made made = make(s);
    Metrics metrics;
    gradients(*made.task, 0, metrics);
    return metrics.mean("ratio/first_step_max_abs_dev");
  };
  for (const double temperature : {1.0, 0.6}) {
    EXPECT_LE(gap({.dtype = at::kFloat, .temperature = temperature}), 1e-4);
    EXPECT_LE(gap({.dtype = at::kDouble, .temperature = temperature}), 1e-10);
    EXPECT_EQ(gap({.dtype = at::kFloat, .batch_invariant = true, .temperature = temperature}), 0);
  }
}

TEST(RlTask, AnOptimizerStepTakesItsShareOfARolloutInEveryPass) {
  Made made = make({.epochs = 2, .minibatches = 2, .prompts = 4});
  std::vector<std::vector<int64_t>> rows;
  for (int64_t step = 0; step < 5; ++step) rows.push_back(made.task->next(step).rows);
  const auto both = [&](size_t a, size_t b) {
    auto all = rows[a];
    all.insert(all.end(), rows[b].begin(), rows[b].end());
    std::sort(all.begin(), all.end());
    return all;
  };
  EXPECT_EQ(rows[0].size(), 2U);
  EXPECT_EQ(both(0, 1), both(2, 3));           // two passes over the same rollout
  EXPECT_NE(both(0, 1), both(4, 4));           // then the next one
  EXPECT_EQ(made.task->steps_per_epoch(), 8);  // 7 prompts in 2 rollouts of 4 updates
}

TEST(RlTask, ValuesLearnTheirReturns) {
  for (const char* kind : {"own", "shared"}) {
    SCOPED_TRACE(kind);
    Made made = make({.critic = kind});
    const auto companions = made.task->companions();
    ASSERT_EQ(companions.size(), 1U);
    AdamW optimizer(*companions[0].parameters, {});
    double first = 0, last = 0;
    for (int i = 0; i < 60; ++i) {
      Metrics metrics;
      gradients(*made.task, 0, metrics);
      last = metrics.sum("loss");
      if (i == 0) first = last;
      optimizer.step(1e-2);
    }
    // The policy's part does not change: what falls is the value loss.
    EXPECT_LT(last, first - 0.01);
  }
}

TEST(RlTask, TheTrunkHearsOfValuesWhereItIsShared) {
  const auto trunk = [](const char* kind) {
    Made made = make({.critic = kind});
    Metrics metrics;
    const Tensor all = gradients(*made.task, 0, metrics);
    int64_t n = 0;
    for (const auto& p : made.model->parameters()) n += p.work.numel();
    return all.narrow(0, 0, n).clone();
  };
  EXPECT_LT(test::relative_distance(trunk("own"), trunk("")), 1e-12);
  EXPECT_GT(test::relative_distance(trunk("shared"), trunk("")), 1e-3);
}

/// Weights after so many steps, stopped and resumed after `stop_at` where that is not 0.
std::vector<Tensor> trained(const Settings& s, int64_t steps, int64_t stop_at) {
  test::TemporaryFolder folder;
  const TrainerOptions options{.steps = steps,
                               .schedule = {.type = "constant", .learning_rate = 1e-2},
                               .save_steps = stop_at,
                               .output_dir = folder.path()};
  Made first = make(s);
  Trainer trainer(*first.task, options);
  if (stop_at > 0) trainer.should_stop = [] { return false; };
  Made* last = &first;
  Made second;
  std::unique_ptr<Trainer> resumed;
  if (stop_at == 0) {
    trainer.run();
  } else {
    int64_t done = 0;
    trainer.on_step = [&](const StepReport& report) { done = report.step; };
    trainer.should_stop = [&] { return done == stop_at; };
    const TrainResult result = trainer.run();
    EXPECT_TRUE(result.interrupted);
    second = make(s);
    resumed = std::make_unique<Trainer>(*second.task, options);
    resumed->resume(result.checkpoint);
    resumed->run();
    last = &second;
  }
  std::vector<Tensor> out;
  for (const auto& p : last->model->parameters()) out.push_back(p.work.detach().clone());
  for (const auto& c : last->task->companions())
    for (const auto& p : *c.parameters) out.push_back(p.work.detach().clone());
  return out;
}

void expect_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
}

TEST(RlTask, ResumesBitByBitBetweenAndWithinRollouts) {
  for (const Settings& s :
       {Settings{}, Settings{.epochs = 2, .minibatches = 2}, Settings{.ahead = true},
        Settings{.ahead = true, .epochs = 2, .critic = "shared"},
        Settings{.minibatches = 2, .critic = "own"}}) {
    const auto straight = trained(s, 8, 0);
    for (const int64_t stop_at : {3, 4}) expect_same(trained(s, 8, stop_at), straight);
  }
}

/// A sampler that waits until it is told to go on: a clock of the test's own.
class Gated : public Sampler {
 public:
  explicit Gated(std::shared_ptr<const CausalLM> model)
      : inner_(std::move(model), SampleOptions{.max_new_tokens = 6}) {}
  std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                              uint64_t step) override {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return open_ > static_cast<int64_t>(step); });
    }
    return inner_(requests, step);
  }
  /// Lets samplers up to and with `step` go on.
  void open(int64_t step) {
    const std::lock_guard lock(mutex_);
    open_ = std::max(open_, step + 1);
    changed_.notify_all();
  }

 private:
  EngineSampler inner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t open_ = 0;
};

TEST(RunningAhead, GivesTheSameWhoeverIsFaster) {
  // Either the sampler of rollout k+1 is done before training on k begins, or it starts only when
  // that has ended: it reads weights of the same moment.
  const auto run = [](bool sampler_is_fast) {
    const auto policy = test::small_model(at::kDouble);
    const auto snapshot = policy->clone();
    const auto gate = std::make_shared<Gated>(snapshot);
    gate->open(sampler_is_fast ? 100 : 0);
    RolloutStream stream(
        RolloutSource(test::id_prompts(7), gate, nullptr, test::one_reward(odd_tokens), nullptr,
                      {.prompts = 3, .generations = 2}),
        snapshot);
    std::string all;
    for (int64_t k = 0; k < 4; ++k) {
      const auto rollout = stream.next(k, *policy);
      for (const auto& group : rollout.groups)
        for (const Sample& sample : group.samples)
          EXPECT_EQ(sample.version, std::max<int64_t>(0, k - 1));
      all += rollout.save().dump();
      const at::NoGradGuard no_grad;  // an update
      for (auto& p : policy->parameters()) p.work.detach().mul_(1.01);
      gate->open(k + 1);  // only now may a slow sampler go on
    }
    gate->open(100);
    return all;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(RunningAhead, SamplesFromTheWeightsThatTrainingOnTheRolloutBeforeBeganWith) {
  const auto policy = test::small_model(at::kDouble);
  const auto collect = [&](const std::shared_ptr<const CausalLM>& model, int64_t index) {
    RolloutSource source(test::id_prompts(7),
                         std::make_shared<EngineSampler>(model, SampleOptions{.max_new_tokens = 6}),
                         nullptr, test::one_reward(odd_tokens), nullptr,
                         {.prompts = 3, .generations = 2});
    source.set_cursor(3 * index);
    return source.collect(index);
  };
  const auto snapshot = policy->clone();
  RolloutStream stream(
      RolloutSource(test::id_prompts(7),
                    std::make_shared<EngineSampler>(snapshot, SampleOptions{.max_new_tokens = 6}),
                    nullptr, test::one_reward(odd_tokens), nullptr,
                    {.prompts = 3, .generations = 2}),
      snapshot);
  const auto ids = [](const CollectedRollout& rollout) {
    std::vector<std::vector<int64_t>> out;
    for (const auto& group : rollout.groups)
      for (const Sample& sample : group.samples) out.push_back(sample.ids);
    return out;
  };
  EXPECT_EQ(ids(stream.next(0, *policy)), ids(collect(policy, 0)));
  const auto before = policy->clone();
  {
    const at::NoGradGuard no_grad;
    for (auto& p : policy->parameters()) p.work.detach().mul_(1.5);
  }
  EXPECT_EQ(ids(stream.next(1, *policy)), ids(collect(before, 1)));
  EXPECT_EQ(ids(stream.next(2, *policy)), ids(collect(policy, 2)));
}

TEST(RunningAhead, NeverAsksARewardTwiceAtOnce) {
  // A reward that takes its time and sees whether somebody else is with it.
  std::atomic<int> inside{0}, most{0};
  const auto slow = test::one_reward([&](const RewardInput&) {
    const int now = ++inside;
    most = std::max(most.load(), now);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    --inside;
    return 1.0;
  });
  const auto policy = test::small_model(at::kDouble);
  const auto snapshot = policy->clone();
  const auto source = [&](const std::shared_ptr<const CausalLM>& model) {
    return RolloutSource(test::id_prompts(3),
                         std::make_shared<EngineSampler>(model, SampleOptions{.max_new_tokens = 2}),
                         nullptr, slow, nullptr, {.prompts = 3, .generations = 2});
  };
  RlTask task(Policy(policy), std::nullopt, std::nullopt, std::make_unique<PlainAlgorithm>(),
              std::make_unique<RolloutStream>(source(snapshot), snapshot),
              std::make_unique<RolloutSource>(source(policy)), {});
  task.next(0);  // the next rollout is on its way
  EXPECT_EQ(task.evaluate().mean("reward"), 1);
  EXPECT_EQ(most, 1);
}

TEST(Importance, WeighsTokensOrCompletionsAndClampsOrMasks) {
  // The sampler claims log-probs that lie off the policy's by known amounts.
  const auto model = test::small_model(at::kDouble);
  const auto engine = std::make_shared<EngineSampler>(model, SampleOptions{.max_new_tokens = 2});
  class Shifted : public Sampler {
   public:
    explicit Shifted(std::shared_ptr<Sampler> inner) : inner_(std::move(inner)) {}
    std::vector<std::vector<Sample>> operator()(const std::vector<SampleRequest>& requests,
                                                uint64_t step) override {
      auto out = (*inner_)(requests, step);
      for (auto& samples : out)
        for (auto& s : samples)
          for (size_t t = 0; t < s.drawn.size(); ++t)
            s.drawn[t] -= t == 0 ? std::log(2.0) : std::log(4.0);
      return out;
    }

   private:
    std::shared_ptr<Sampler> inner_;
  };
  const auto measured = [&](const ImportanceOptions& importance) {
    Made made = make({.importance = importance, .sampler = std::make_shared<Shifted>(engine)});
    Metrics metrics;
    gradients(*made.task, 0, metrics);
    return metrics;
  };
  const Metrics off = measured({});
  EXPECT_NEAR(off.mean("sampling/sampling_logp_difference/max"), std::log(4.0), 1e-9);
  EXPECT_FALSE(off.has("sampling/importance_sampling_ratio/mean"));
  const auto bounds = [&](const std::string& mode, double most) {
    const Metrics m = measured({.mode = mode, .most = most});
    return std::pair(m.mean("sampling/importance_sampling_ratio/min"),
                     m.mean("sampling/importance_sampling_ratio/max"));
  };
  EXPECT_NEAR(bounds("token_truncate", 3).first, 2, 1e-9);
  EXPECT_NEAR(bounds("token_truncate", 3).second, 3, 1e-9);
  EXPECT_NEAR(bounds("token_mask", 3).first, 0, 1e-9);
  EXPECT_NEAR(bounds("token_mask", 3).second, 2, 1e-9);
  EXPECT_NEAR(bounds("sequence_truncate", 20).second, 8, 1e-9);  // 2 · 4
  EXPECT_NEAR(bounds("sequence_mask", 3).first, 0, 1e-9);
}

TEST(Staleness, TakesOldSamplesOutOfTheirGroups) {
  const auto model = test::small_model(at::kDouble);
  const auto old = std::make_shared<FakeSampler>([](const auto&, uint64_t number, uint64_t) {
    Sample s{.ids = {4, 6}, .logps = {-3, -3}, .stopped = true};
    s.tempered = s.drawn = s.logps;
    s.version = number % 2 == 0 ? 0 : -1;  // every other one is of the first weights
    return s;
  });
  Made made = make({.max_staleness = 1, .sampler = old});
  for (int64_t step = 0; step < 3; ++step) {
    Metrics metrics;
    gradients(*made.task, step, metrics);
    const double stale = step < 2 ? 0 : 2.0 / 3;  // of three samples, numbers 0, 1, 2
    EXPECT_NEAR(metrics.mean("sampling/stale"), stale, 1e-12) << step;
  }
}

TEST(RlTask, NamesWhatTheAlgorithmLacks) {
  class Wanting : public PlainAlgorithm {
   public:
    explicit Wanting(AlgorithmNeeds needs) : needs_(needs) {}
    AlgorithmNeeds needs() const override { return needs_; }

   private:
    AlgorithmNeeds needs_;
  };
  const auto refused = [](const AlgorithmNeeds& needs) {
    const auto model = test::small_model(at::kDouble);
    RolloutSource source(test::id_prompts(3),
                         std::make_shared<EngineSampler>(model, SampleOptions{.max_new_tokens = 2}),
                         nullptr, test::one_reward(odd_tokens), nullptr,
                         {.prompts = 2, .generations = 1});
    RlTask task(Policy(model), std::nullopt, std::nullopt, std::make_unique<Wanting>(needs),
                std::make_unique<RolloutStream>(std::move(source), nullptr), nullptr, {});
  };
  EXPECT_EQ(test::message_of<ArgumentError>([&] { refused({.reference = true}); }),
            "[RlTask] this algorithm needs a reference model");
  EXPECT_EQ(test::message_of<ArgumentError>([&] { refused({.values = true}); }),
            "[RlTask] this algorithm needs a value model");
  EXPECT_EQ(test::message_of<UsageError>([&] { refused({.least_group = 2}); }),
            "this algorithm compares at least 2 completions of a prompt; "
            "rollout.num_generations is 1");
}

}  // namespace
}  // namespace luce
