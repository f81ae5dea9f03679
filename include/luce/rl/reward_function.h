// Rewards of sampled completions. A reward that fails has no value, which is not a value of 0: its
// sample leaves its group, it is counted, and too many of them stop the run.
#pragma once

#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "luce/base/json.h"
#include "luce/base/metrics.h"

namespace luce {

/// A completion as reward functions see it: ids and texts of the policy's tokenizer, no special
/// tokens in the texts.
struct RewardInput {
  std::string prompt, completion;
  std::vector<int64_t> prompt_ids, completion_ids;
  const Json* row = nullptr;  // the whole row of the data file, for its other columns
  bool truncated = false;     // the length ran out
};

/// A reward at the end of a step within the completion.
struct StepReward {
  int64_t end = 0;  // tokens of the completion up to and with the step
  double value = 0;
};

/// What a reward function makes of a completion: a value, none, or a failure.
struct RewardValue {
  double value = NAN;                  // NaN: none
  std::vector<StepReward> steps = {};  // beside the value, or instead of it: earned on the way
  std::string problem = {};            // why there is none, where that is a failure: a sentence
};

class RewardFunction {
 public:
  virtual ~RewardFunction() = default;
  /// One value for each completion. What it throws costs these completions their reward, and
  /// nothing else.
  virtual std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) = 0;
};

/// A reward that is one function of a completion: nothing where it has no value. What the function
/// throws, and a NaN or an infinity, costs that completion its reward, and no other.
class RewardLambda : public RewardFunction {
 public:
  using Value = std::function<std::optional<double>(const RewardInput&)>;
  explicit RewardLambda(Value value) : value_(std::move(value)) {}
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override;

 private:
  Value value_;
};

struct NamedReward {
  std::string name;  // of its metrics
  std::shared_ptr<RewardFunction> function;
  double weight = 1;
};

/// What a list of reward functions made of some completions.
struct RewardedCompletions {
  std::vector<double> rewards;             // [C] Σ_k w_k R_k over the functions that gave a value,
                                           // NaN where none did, or where one failed
  std::vector<std::vector<double>> parts;  // [K][C]
  std::vector<std::vector<StepReward>> steps;  // [C] weighted, of all functions
  std::vector<std::string> problems;           // [C] "" where nothing failed
};

struct RewardLimits {
  double max_failed = 0.05;  // share of `window` completions: more failures among the last `window`
  int64_t window = 200;      // stop the run
};

/// Several reward functions with weights. A row whose column "reward" names some of them, as a text
/// or a list of texts, is rewarded by those alone. A completion fails where one of its functions
/// does: throws, says a problem, gives an infinity, steps that lie outside the completion, or not
/// as many values as it was given completions.
class Rewards {
 public:
  /// Throws ArgumentError on two functions of one name and on options out of range.
  Rewards(std::vector<NamedReward> functions, const RewardLimits& options = {});

  /// Calls every function on the completions that are its own. Logs rewards/NAME/mean,
  /// rewards/NAME/std (unbiased) and reward/failed, the share that failed; and, ever more rarely,
  /// why. Throws an Error of Exit::service where too many failed, with the newest reasons, and
  /// DataError on a row that names a reward that is not there.
  RewardedCompletions operator()(const std::vector<RewardInput>& inputs, Metrics& metrics);

  const std::vector<NamedReward>& functions() const { return functions_; }

 private:
  std::vector<bool> wanted(const Json* row) const;
  void count(const RewardedCompletions& out);

  std::vector<NamedReward> functions_;
  RewardLimits options_;
  std::deque<bool> recent_;          // whether each of the last completions failed
  std::deque<std::string> reasons_;  // the newest, each once
  int64_t failed_ = 0;               // since the start
};

}  // namespace luce
