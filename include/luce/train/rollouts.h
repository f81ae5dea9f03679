// From prompts to rewarded completions: what every online task begins its steps with.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "luce/base/metrics.h"
#include "luce/data/prompts.h"
#include "luce/data/report.h"
#include "luce/rl/reward_function.h"
#include "luce/rl/rollout.h"
#include "luce/rl/sampler.h"

namespace luce {

/// A prompt's completions and what each earned.
struct RolloutGroup {
  int64_t prompt = 0;  // place in the list of prompts
  std::vector<Sample> samples;
  std::vector<std::string> texts;              // [G] the completions, no special tokens
  std::vector<double> rewards;                 // [G] NaN: none
  std::vector<std::vector<double>> parts;      // [G][K] of each reward function
  std::vector<std::vector<StepReward>> steps;  // [G] earned on the way
  double greedy_reward = 0;                    // of the greedy completion, where it was asked for

  /// Whether two completions earned different rewards.
  bool is_informative() const;
};

/// What one call of the sampler brought.
struct CollectedRollout {
  int64_t index = 0;  // from 0
  std::vector<RolloutGroup> groups;
  Metrics metrics;  // of sampling and rewards, under TRL's names

  /// The flat form that algorithms see, without the log-probs and values that are still to come.
  Rollout flat(const std::vector<double>& reward_weights) const;
  Json save() const;
  /// Throws DataError on what save() never gives.
  static CollectedRollout load(const Json& json);
};

struct RolloutOptions {
  int64_t prompts = 8;      // of a rollout
  int64_t generations = 8;  // completions of a prompt
  bool shuffle = true;      // a new order of the prompts each epoch
  uint64_t seed = 42;       // of that order
  /// Prompts whose completions all earn the same are replaced so many times (DAPO,
  /// arXiv:2503.14476 §3.2); groups that are left equal after that are dropped, unless all are.
  int64_t dynamic_sampling = 0;
};

/// Takes prompts in order, epoch after epoch.
class RolloutSource {
 public:
  /// `greedy` may be null: then no greedy rewards are taken. `tokenizer` may be null: then rewards
  /// see token ids and empty texts. Throws DataError where there are no prompts.
  RolloutSource(std::vector<Prompt> prompts, std::shared_ptr<Sampler> sampler,
                std::shared_ptr<Sampler> greedy, std::shared_ptr<Rewards> rewards,
                std::shared_ptr<const Tokenizer> tokenizer, const RolloutOptions& options);

  /// The next prompts' completions, with their rewards. A group holds the samples that could be
  /// had; one without any is left out. Throws what the sampler throws, and Error of Exit::service
  /// where too many rewards failed.
  CollectedRollout collect(int64_t index);
  /// Completions of all prompts in order, `generations` each; the cursor stays.
  CollectedRollout all();

  const std::vector<Prompt>& prompts() const { return prompts_; }
  const Rewards& rewards() const { return *rewards_; }
  const RolloutOptions& options() const { return options_; }
  /// How many prompts were taken so far, replaced ones too.
  int64_t cursor() const { return cursor_; }
  void set_cursor(int64_t cursor) { cursor_ = cursor; }

 private:
  int64_t place(int64_t taken) const;
  std::vector<RolloutGroup> sampled(const std::vector<int64_t>& places, int64_t first_number,
                                    uint64_t step, Metrics& metrics);
  void reward(std::vector<RolloutGroup>& groups, Metrics& metrics);

  std::vector<Prompt> prompts_;
  std::shared_ptr<Sampler> sampler_, greedy_;
  std::shared_ptr<Rewards> rewards_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  RolloutOptions options_;
  int64_t cursor_ = 0;
};

/// Adds lengths, rewards and their spread, under TRL's names.
void record_rollout(const std::vector<RolloutGroup>& groups, Metrics& metrics);

/// One line of JSON for each completion: step, row, prompt, completion, reward, its parts,
/// advantage (where `advantages` has one for each).
std::string rollout_lines(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                          const std::vector<NamedReward>& rewards,
                          const std::vector<double>& advantages, int64_t step);

/// Where completions are written and shown at logging steps.
struct RolloutLog {
  std::filesystem::path folder = {};  // one file a step; empty: none
  int64_t shown = 0;                  // rows of a table in the log

  /// `advantages`: one of each completion, or none.
  void operator()(const CollectedRollout& rollout, const RolloutSource& source,
                  const std::vector<double>& advantages, int64_t step) const;
};

/// The completions of a rollout as sections of report.json.
Json rollout_sections(const CollectedRollout& rollout, const std::vector<Prompt>& prompts);

/// Prompts, completions and rewards as a table, `count` completions of as many prompts at most.
Table rollout_table(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                    int64_t count);

}  // namespace luce
