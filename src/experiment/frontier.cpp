// Six methods from the same start, on the same number of samples, at three strengths of the tie to
// the start each: what reward does each distance buy?
#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <optional>

#include "experiment/experiments.h"
#include "experiment/frontier_world.h"
#include "experiment/online_runs.h"
#include "experiment/tensor_memory.h"
#include "experiment/text.h"
#include "experiment/tiny_llama.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/ipo.h"
#include "luce/loss/sft.h"

namespace luce {
namespace {

using World = FrontierWorld;

constexpr double kFarthest = 15;  // nats: a best weight lies nearer
constexpr double kRate = 1e-3;

/// Trains a copy of the start on so many samples.
using Train = std::function<void(const World&, const std::shared_ptr<CausalLM>&, double weight,
                                 int64_t samples, uint64_t seed)>;

struct Method {
  std::string name, weight_name;
  bool online = true;
  std::vector<double> weights;  // from the loosest tie to the tightest
  Train train;
};

Train online(Json algorithm, int64_t generations) {
  return [algorithm = std::move(algorithm), generations](
             const World& world, const std::shared_ptr<CausalLM>& policy, double weight,
             int64_t samples, uint64_t seed) {
    constexpr int64_t kSamplesAStep = 64;
    OnlineRun run{.algorithm = algorithm,
                  .prompts = kSamplesAStep / generations,
                  .generations = generations,
                  .new_tokens = World::kLength,
                  .steps = samples / kSamplesAStep,
                  .learning_rate = kRate,
                  .value_learning_rate = 0,
                  .seed = seed};
    if (run.algorithm.contains("loss"))
      run.algorithm["loss"]["beta"] = weight;
    else
      run.algorithm["beta"] = weight;
    const int64_t passes = run.algorithm.value("num_iterations", int64_t{1});
    run.steps *= passes;
    train_online(
        policy, world.prompts,
        [&](const std::vector<int64_t>& prompt, const std::vector<int64_t>& answer) {
          return world.reward(prompt, answer);
        },
        run);
  };
}

template <class Loss>
Train offline() {
  return [](const World& world, const std::shared_ptr<CausalLM>& policy, double weight,
            int64_t samples, uint64_t seed) {
    const auto pairs = world.pairs(policy, samples / 2, seed);
    typename Loss::Options options;
    options.beta = weight;
    fit(policy, std::make_unique<Loss>(options), pairs,
        {.steps = samples / 64, .batch_size = 32, .learning_rate = kRate, .seed = seed});
  };
}

std::vector<Method> methods() {
  return {
      {"RLOO", "β, KL in the reward", true, {0.1, 0.2, 0.4}, online({{"type", "rloo"}}, 8)},
      {"GRPO",
       "β, KL in the loss",
       true,
       {0.2, 0.3, 0.5},
       online({{"type", "grpo"}, {"kl", "loss"}}, 8)},
      {"PPO",
       "β, KL in the reward",
       true,
       {0.1, 0.2, 0.4},
       online({{"type", "ppo"}, {"num_iterations", 2}}, 8)},
      {"online DPO",
       "β",
       true,
       {0.5, 1, 2},
       online({{"type", "online_dpo"}, {"loss", {{"type", "dpo"}}}}, 2)},
      {"DPO", "β", false, {0.05, 0.2, 0.5}, offline<Dpo>()},
      {"IPO", "τ", false, {0.05, 0.2, 0.5}, offline<Ipo>()},
  };
}

/// One method at one weight, over seeds.
struct Cell {
  std::vector<FrontierPoint> points;
  std::vector<double> seconds, mib;

  Estimate of(double FrontierPoint::*member) const {
    std::vector<double> values;
    for (const auto& p : points) values.push_back(p.*member);
    return mean_of(values);
  }
  /// The rise over the start in standard errors of the difference: those of the seeds, or where
  /// there is one seed, of its answers.
  double gain_in_errors(const std::vector<FrontierPoint>& starts) const {
    std::vector<double> gains;
    double squares = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      gains.push_back(points[i].reward - starts[i].reward);
      squares += points[i].reward_error * points[i].reward_error +
                 starts[i].reward_error * starts[i].reward_error;
    }
    const Estimate gain = mean_of(gains);
    const double within = std::sqrt(squares) / static_cast<double>(points.size());
    return gain.value / std::max(within, gain.error);
  }
};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Study {
  std::vector<Method> all = methods();
  std::vector<FrontierPoint> starts;     // of each seed
  std::vector<std::vector<Cell>> cells;  // [method][weight]
  int64_t samples = 0;

  Study(const ExperimentOptions& options) {
    const int64_t seeds = options.quick ? 1 : 3, answers = options.quick ? 512 : 2048;
    samples = options.quick ? 2048 : 8192;
    if (options.quick)
      for (auto& method : all) method.weights = {method.weights[1]};
    for (const auto& method : all) cells.emplace_back(method.weights.size());
    const World world(options.seed);
    const auto start = small_llama(World::kVocabulary, 16, World::kEnd, options.seed);
    fit(start, std::make_unique<Sft>(), world.texts(4096, options.seed),
        {.steps = 300, .batch_size = 64, .learning_rate = 3e-3, .seed = options.seed});
    for (int64_t i = 0; i < seeds; ++i) {
      const uint64_t seed = 100 * options.seed + static_cast<uint64_t>(i);
      starts.push_back(measure(world, start, start, answers, seed + 50));
      for (size_t m = 0; m < all.size(); ++m)
        for (size_t w = 0; w < all[m].weights.size(); ++w)
          add(cells[m][w], all[m], all[m].weights[w], world, start, answers, seed);
    }
  }

  void add(Cell& cell, const Method& method, double weight, const World& world,
           const std::shared_ptr<CausalLM>& start, int64_t answers, uint64_t seed) const {
    const auto policy = start->clone();
    {
      const TensorMemory memory;
      const double begin = seconds_now();
      method.train(world, policy, weight, samples, seed);
      cell.seconds.push_back(seconds_now() - begin);
      cell.mib.push_back(static_cast<double>(memory.peak()) / (1 << 20));
    }
    cell.points.push_back(measure(world, policy, start, answers, seed + 51));
  }

  /// The weight of most reward among those that stay near; nothing where all go farther.
  std::optional<size_t> best(size_t m) const {
    std::optional<size_t> out;
    for (size_t w = 0; w < cells[m].size(); ++w) {
      if (cells[m][w].of(&FrontierPoint::kl).value > kFarthest) continue;
      const double reward = cells[m][w].of(&FrontierPoint::reward).value;
      if (!out || reward > cells[m][*out].of(&FrontierPoint::reward).value) out = w;
    }
    return out;
  }
};

Findings run(const ExperimentOptions& options) {
  const Study study(options);
  Table points{.title = "Reward and distance, mean and standard error over seeds",
               .columns = {"method", "weight", "KL, nats", "reward", "seconds", "peak MiB"},
               .rows = {},
               .note = cat("Each run saw ", study.samples,
                           " samples. Seconds and memory of tensors are those of a run, the "
                           "sampling included; they vary with the machine.")};
  std::vector<double> start_rewards;
  for (const auto& p : study.starts) start_rewards.push_back(p.reward);
  points.rows.push_back({"start", "", "0", shown(mean_of(start_rewards), 2), "", ""});
  Table best{
      .title = "Each method at its best weight of at most 15 nats",
      .columns = {"method", "weight", "KL, nats", "reward", "above the start, in standard errors"},
      .rows = {},
      .note = ""};
  LineChart chart{.title = "Reward and KL to the start",
                  .note = "Each dot is a weight; bars are standard errors over seeds.",
                  .x_label = "KL to the start, nats an answer",
                  .smooth = false,
                  .baseline = mean_of(start_rewards).value};
  Json figures = Json::array();
  double least_gain = INFINITY;
  for (size_t m = 0; m < study.all.size(); ++m) {
    const Method& method = study.all[m];
    Series series{.name = method.name, .color = static_cast<int>(m), .sparse = true};
    std::vector<size_t> order(method.weights.size());
    for (size_t w = 0; w < order.size(); ++w) order[w] = w;
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return study.cells[m][a].of(&FrontierPoint::kl).value <
             study.cells[m][b].of(&FrontierPoint::kl).value;
    });
    for (size_t w = 0; w < method.weights.size(); ++w) {
      const Cell& cell = study.cells[m][w];
      const Estimate kl = cell.of(&FrontierPoint::kl), reward = cell.of(&FrontierPoint::reward);
      const double seconds = mean_of(cell.seconds).value, mib = mean_of(cell.mib).value;
      points.rows.push_back({w == 0 ? cat(method.name, " (", method.weight_name, ")") : method.name,
                             number(method.weights[w]), shown(kl, 2), shown(reward, 2),
                             fixed(seconds, 1), fixed(mib, 1)});
      figures.push_back({{"method", method.name},
                         {"weight", method.weights[w]},
                         {"kl", kl.value},
                         {"kl_error", kl.error},
                         {"reward", reward.value},
                         {"reward_error", reward.error},
                         {"seconds", seconds},
                         {"peak_mib", mib},
                         {"gain_in_errors", cell.gain_in_errors(study.starts)}});
    }
    for (const size_t w : order) {
      const Cell& cell = study.cells[m][w];
      const Estimate kl = cell.of(&FrontierPoint::kl), reward = cell.of(&FrontierPoint::reward);
      series.x.push_back(kl.value);
      series.y.push_back(reward.value);
      series.x_error.push_back(kl.error);
      series.y_error.push_back(reward.error);
    }
    chart.series.push_back(std::move(series));
    const std::optional<size_t> nearest = study.best(m);
    if (!nearest) {
      best.rows.push_back({method.name, "none", "", "", ""});
      if (method.online) least_gain = -INFINITY;
      continue;
    }
    const size_t w = *nearest;
    const Cell& cell = study.cells[m][w];
    const double gain = cell.gain_in_errors(study.starts);
    if (method.online) least_gain = std::min(least_gain, gain);
    best.rows.push_back({method.name, number(method.weights[w]),
                         shown(cell.of(&FrontierPoint::kl), 2),
                         shown(cell.of(&FrontierPoint::reward), 2), fixed(gain, 1)});
  }
  return {.answer = std::isinf(least_gain)
                        ? "Not every online method has a weight that stays within 15 nats."
                        : cat("Every online method rises above its start by at least ",
                              fixed(least_gain, 1),
                              " standard errors within 15 nats, each at its best weight."),
          .tables = {points, best},
          .charts = {chart},
          .figures = {{"samples", study.samples},
                      {"start_reward", mean_of(start_rewards).value},
                      {"cells", figures},
                      {"least_online_gain_in_errors", least_gain}}};
}

}  // namespace

Experiment frontier() {
  return {.name = "frontier",
          .title = "The reward–KL frontier",
          .question =
              "RLOO, GRPO, PPO, online DPO, DPO and IPO from the same start on the same number "
              "of samples: how much reward does each buy for its distance from the start?",
          .run = run};
}

}  // namespace luce
