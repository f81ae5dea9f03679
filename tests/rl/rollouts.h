// Rollouts for the tests of algorithms: written as lists, and all that a small policy can draw.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <vector>

#include "luce/oracle/calculus.h"
#include "luce/oracle/sequences.h"
#include "luce/oracle/table.h"
#include "luce/rl/algorithms.h"

namespace luce::test {

using Numbers = std::vector<double>;

inline Tensor f64(const Numbers& values) { return at::tensor(values, at::kDouble); }
inline Numbers numbers_of(const Tensor& t) {
  const Tensor flat = t.detach().to(at::kDouble).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

/// The algorithm of {"type": type} with these options.
inline std::unique_ptr<Algorithm> make_algorithm(const std::string& type, Json options = {}) {
  Json section = {{"type", type}};
  if (!options.is_null()) section.update(options);
  return Algorithms().make(Document::of(Json{{"algorithm", section}}, "test"));
}

/// Completions of these lengths in groups of these sizes, with these rewards.
inline Rollout rollout_of(const std::vector<int64_t>& lengths, const std::vector<int64_t>& groups,
                          const Numbers& rewards) {
  Rollout out;
  for (const int64_t n : lengths) out.offset.push_back(out.offset.back() + n);
  for (const int64_t n : groups) out.group.push_back(out.group.back() + n);
  out.rewards = rewards;
  return out;
}

/// The indices of all completions.
inline std::vector<int64_t> all_of(const Rollout& rollout) {
  std::vector<int64_t> which;
  for (int64_t c = 0; c < rollout.num_completions(); ++c) which.push_back(c);
  return which;
}

/// What an algorithm makes of a rollout that is one optimizer step.
struct Step {
  Advantages advantages;
  PolicyInputs inputs;
  Metrics metrics;
  Tensor loss;  // Σ_t w_t ℓ_t
};

/// `logps` [M] is the policy; the rollout's old and reference log-probs stand beside it.
inline Step step_of(const Algorithm& algorithm, const Rollout& rollout, const Tensor& logps,
                    const Tensor& entropy = {}, int64_t max_length = 4) {
  Step s;
  s.advantages = algorithm.advantages(rollout, s.metrics);
  s.inputs.logps = {logps, rollout.offset};
  s.inputs.old_logps = f64(rollout.old_logps);
  if (!rollout.ref_logps.empty()) s.inputs.ref_logps = f64(rollout.ref_logps);
  s.inputs.advantages = f64(s.advantages.advantages);
  s.inputs.entropy = entropy;
  s.inputs.weights = f64(
      token_weights(rollout, s.advantages, all_of(rollout), algorithm.aggregation(), max_length));
  s.loss = (algorithm(s.inputs, s.metrics) * s.inputs.weights).sum();
  return s;
}

/// All answers of at most two tokens out of three, the last of which ends them; a policy and a
/// reference over them, and what each answer and each of its tokens earns.
struct Tree {
  oracle::Sequences s;
  Tensor theta, old_theta, ref_theta;  // logits after each prefix
  Tensor rewards;                      // [S]
  Tensor token_rewards = {};           // [M]
  Tensor values = {};                  // [M]
  double greedy = 0;

  explicit Tree(oracle::Sequences sequences = oracle::all_sequences(3, 2, oracle::Ending::eos))
      : s(std::move(sequences)) {
    const auto prefixes = static_cast<int64_t>(s.prefixes.size());
    theta = oracle::normal({prefixes, 3}, 81).requires_grad_(true);
    old_theta = theta.detach();
    ref_theta = oracle::normal({prefixes, 3}, 82);
    rewards = oracle::normal({static_cast<int64_t>(s.answers.size())}, 83);
  }

  Tensor logps() const { return s.logps(theta).values; }  // [M]
  Tensor log_p() const { return s.logps(theta).sum(); }   // [S]
  Tensor log_ref() const { return s.logps(ref_theta).sum(); }
  Tensor old_p() const { return s.logps(old_theta).sum().exp(); }
  /// What an answer earns in all, [S].
  Tensor totals() const {
    return token_rewards.defined() ? rewards + TokenValues{token_rewards, s.offset}.sum() : rewards;
  }
  /// E_π[x], differentiable in the policy.
  Tensor expectation(const Tensor& x) const { return (log_p().exp() * x).sum(); }
  Tensor gradient(const Tensor& scalar) const { return oracle::gradient(scalar, theta); }
  Tensor kl() const { return expectation(log_p() - log_ref()); }

  /// The rollout of one prompt whose completions are these answers, and their tokens in the tree.
  std::pair<Rollout, Tensor> draw(const std::vector<int64_t>& answers) const {
    std::vector<int64_t> tokens, lengths;
    Numbers earned;
    for (const int64_t a : answers) {
      const int64_t begin = s.offset[static_cast<size_t>(a)],
                    end = s.offset[static_cast<size_t>(a) + 1];
      for (int64_t t = begin; t < end; ++t) tokens.push_back(t);
      lengths.push_back(end - begin);
      earned.push_back(rewards[a].item<double>());
    }
    Rollout out = rollout_of(lengths, {static_cast<int64_t>(answers.size())}, earned);
    const Tensor index = at::tensor(tokens, at::kLong);
    const auto taken = [&](const Tensor& t) { return numbers_of(t.index_select(0, index)); };
    out.old_logps = taken(s.logps(old_theta).values);
    out.ref_logps = taken(s.logps(ref_theta).values);
    if (token_rewards.defined()) out.token_rewards = taken(token_rewards);
    if (values.defined()) out.values = taken(values);
    out.greedy_rewards = {greedy};
    return {out, index};
  }

  /// E over all groups of K answers, drawn by the old policy, of −∇ of the step's loss.
  Tensor expected_update(const Algorithm& algorithm, int64_t k) const {
    const Tensor p = old_p(), now = logps();
    const auto answers = static_cast<int64_t>(s.answers.size());
    const Tensor entropy = s.at_prefixes(entropies()).values;
    Tensor total = at::zeros({}, at::kDouble);
    std::vector<int64_t> group(static_cast<size_t>(k), 0);
    while (true) {
      double probability = 1;
      for (const int64_t a : group) probability *= p[a].item<double>();
      const auto [rollout, index] = draw(group);
      total = total + probability * step_of(algorithm, rollout, now.index_select(0, index),
                                            entropy.index_select(0, index))
                                        .loss;
      size_t place = 0;
      while (place < group.size() && ++group[place] == answers) group[place++] = 0;
      if (place == group.size()) break;
    }
    return -gradient(total);
  }

  /// H(π(· | prefix)), [N].
  Tensor entropies() const {
    const Tensor log_policy = oracle::log_policy(theta);
    return -(log_policy.exp() * log_policy).sum(1);
  }
};

}  // namespace luce::test
