// Rewards that something outside this process gives: a program that is kept running, or a server.
// Whatever it does costs the completions at hand their reward, never the run.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "luce/base/http.h"
#include "luce/base/schema.h"
#include "luce/base/subprocess.h"
#include "luce/rl/judge.h"
#include "luce/rl/reward_function.h"
#include "luce/rl/reward_registry.h"

namespace luce {

/// Reads {"rewards": [number or null, …]} with `count` entries; null is no value. Whatever else it
/// is becomes the problem of all, or of the one, beginning with `who`.
std::vector<RewardValue> parse_rewards(const std::string& reply, size_t count,
                                       const std::string& who);

/// subprocess: a command that answers a line of JSON with a line of JSON. The line is
/// {"prompts": [text, …], "completions": [text, …], "completion_ids": [[id, …], …],
/// "rows": [row, …]}, the reply {"rewards": [number or null, …]}.
class SubprocessReward : public RewardFunction {
 public:
  struct Options {
    std::vector<std::string> command;
    int64_t batch_size = 16;
    double timeout = 30, start_timeout = 60;
    int64_t max_reply = 1 << 20, max_restarts = 3;
    std::string folder;
  };
  static RewardInfo info();
  /// Throws UsageError where the command cannot be started.
  explicit SubprocessReward(const Options& options);
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override;

 private:
  size_t batch_size_;
  Subprocess process_;
};

/// http: a reward server in one of two wire forms.
///   openrlhf  a server of OpenRLHF's remote rewards: {"query": [prompt + completion, …],
///             "prompts": [text, …], "labels": [value, …]} → {"rewards": [number or null, …]}
///   openai    a chat model behind /v1/chat/completions that judges one completion at a time: what
///             it would say is read from the log-probs of the first token, or the first number of
///             what it says
class HttpReward : public RewardFunction {
 public:
  struct Options {
    std::string url, form = "openrlhf";
    double timeout = 180;
    int64_t retries = 3, max_in_flight = 8, max_reply = 1 << 20;
    std::string token_file;
    // Of one form alone, so that one given to the other can be refused:
    std::optional<int64_t> batch_size;
    std::optional<std::string> column;
    std::optional<std::string> model, questions, read;
    std::optional<int64_t> max_tokens;
  };
  static RewardInfo info();
  /// Throws UsageError on an address or options that cannot be used, and what reading the template
  /// and the token throws.
  explicit HttpReward(const Options& options);
  std::vector<RewardValue> operator()(const std::vector<RewardInput>& inputs) override;

 private:
  std::vector<RewardValue> from_openrlhf(const std::vector<RewardInput>& inputs);
  std::vector<RewardValue> from_openai(const std::vector<RewardInput>& inputs);
  double verdict(const Json& reply) const;

  Options options_;
  std::string who_;  // the address as it may stand in messages
  std::optional<JudgeTemplate> questions_;
  HttpClient client_;
};

void describe(Schema& s, SubprocessReward::Options& o);
void describe(Schema& s, HttpReward::Options& o);

}  // namespace luce
