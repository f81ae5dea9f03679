// The value model of an online run: a model of its own, or a head on the policy's trunk.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "luce/model/roles.h"

namespace luce {

/// Estimates V(s) of what is still to be earned, for the state before each scored token.
class Critic {
 public:
  /// A model of its own, whose head of scores has one output.
  explicit Critic(std::shared_ptr<ScoreModel> model);
  /// A linear head on the policy's trunk: weight normal(0, 1/√(D+1)) by seed, bias 0.
  Critic(const CausalLM& policy, uint64_t seed);

  bool shares_trunk() const { return !model_.has_value(); }
  /// Values at a batch's targets, [M] f32 (f64 for f64 models), without a gradient. `hidden`: the
  /// policy's at the targets, read where the trunk is shared.
  Tensor values(const Batch& batch, const Tensor& hidden) const;
  /// The same with gradients: d_values = fn(values) [M] is carried to the critic's buffers and,
  /// where the trunk is shared, added to d_hidden [M, D].
  void backward(const Batch& batch, const Tensor& hidden, const Tensor& d_hidden,
                const std::function<Tensor(const Tensor& values)>& fn);

  std::vector<Parameter>& parameters() { return model_ ? model_->parameters() : head_; }
  int64_t num_parameters() const;
  /// The model of its own; throws ArgumentError where the trunk is shared.
  const ScoreModel& model() const;

 private:
  Tensor head_values(const Tensor& hidden) const;

  std::optional<RewardModel> model_;
  std::vector<Parameter> head_;  // weight [1, D], bias [1]
};

}  // namespace luce
