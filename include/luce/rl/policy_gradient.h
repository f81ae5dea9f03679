// All built-in online algorithms are one: an estimator of advantages, a surrogate of the policy, KL
// to the reference in the reward or in the loss, an entropy bonus, a value loss. They differ in
// defaults (algorithms.h).
#pragma once

#include <optional>
#include <string>

#include "luce/rl/advantage.h"
#include "luce/rl/algorithm.h"
#include "luce/rl/surrogate.h"

namespace luce {

struct KlToReference {
  std::string place = "off";  // key "kl": "off", "reward" or "loss"
  double beta = 0;
  std::string estimator = "k1", gradient = "bias_corrected";
  double max_log_ratio = 0;
  std::optional<double> target = {};  // adaptive, arXiv:1909.08593 section 2.2
  double horizon = 10000;

  bool is_on() const { return place != "off" && beta > 0; }
  KlOptions options() const;
};

struct EntropyBonus {
  double coefficient = 0;
  bool adaptive = false;  // arXiv:2505.22312
  double target = 0.2, step = 0.005, least = 0, most = 1;
};

struct PolicyGradientOptions {
  AdvantageOptions advantage = {};
  SurrogateOptions surrogate = {};
  KlToReference kl = {};
  EntropyBonus entropy = {};
  double vf_coef = 0.1, cliprange_value = 0.2;
  std::string aggregation = "token_mean";
  int64_t num_iterations = 1, minibatches = 1;
};

void describe(Schema& s, PolicyGradientOptions& o);

class PolicyGradient : public Algorithm {
 public:
  using Options = PolicyGradientOptions;
  /// Throws ArgumentError on options that contradict each other.
  explicit PolicyGradient(const Options& options = {});

  AlgorithmNeeds needs() const override;
  Aggregation aggregation() const override;
  int64_t epochs() const override { return options_.num_iterations; }
  int64_t minibatches() const override { return options_.minibatches; }

  /// Logs, with KL to a reference: kl_coef, objective/kl (nats a completion), and with KL in the
  /// reward kl (the estimate a token), objective/non_score_reward, objective/rlhf_reward.
  Advantages advantages(const Rollout& rollout, Metrics& metrics) const override;
  /// The surrogate, β times the KL where that is in the loss, less the entropy bonus. Where the
  /// ratio is of the completion, so are KL and entropy: sums over it, at each of its tokens.
  Tensor operator()(const PolicyInputs& inputs, Metrics& metrics) const override;
  /// vf_coef · clipped_value_loss.
  Tensor value_loss(const ValueInputs& inputs, Metrics& metrics) const override;

  void observe(const Rollout& rollout) override;
  void after_step(const Metrics& step) override;
  Json state() const override;
  void load_state(const Json& state) override;

  const Options& options() const { return options_; }

 private:
  KlPenalty penalty() const;
  Tensor kl_loss(const PolicyInputs& inputs, Metrics& metrics) const;
  double entropy_coefficient() const;

  Options options_;
  double kl_coefficient_ = 0, entropy_coefficient_ = 0;
  std::optional<double> baseline_;      // running mean of "moving"
  std::optional<double> last_entropy_;  // of the step before
};

}  // namespace luce
