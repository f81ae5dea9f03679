// Policies as tables: one prompt with S answers, every distribution [..., S] f64 log-probs in nats.
// Leading dimensions are further prompts.
#pragma once

#include <cstdint>
#include <vector>

#include "luce/ops/tensor.h"

namespace luce::oracle {

/// [n] f64.
Tensor numbers(const std::vector<double>& values);

/// Standard normal numbers that depend on the seed alone: f64 of that shape.
Tensor normal(const std::vector<int64_t>& shape, uint64_t seed);

/// A smooth function without structure, for statements that hold for any: the values of S answers,
/// [S], from four parameters theta.
struct SmoothTable {
  Tensor theta, value;
  SmoothTable(int64_t answers, uint64_t seed);
};

/// log softmax over the last dimension.
Tensor log_policy(const Tensor& logits);

/// The policy whose logits are log π_ref + u·direction: all answers move by one number u.
Tensor coupled_policy(const Tensor& log_ref, const Tensor& direction, const Tensor& u);

/// −Σ_y π(y) log π(y) over the last dimension.
Tensor entropy(const Tensor& log_p);

/// Σ_y π(y) value(y) over the last dimension.
Tensor expectation(const Tensor& log_p, const Tensor& value);

/// The objective of reinforcement learning with a penalty,
///   J(π) = E_π[R] − β KL(π ‖ π_ref),
/// which one policy maximises: π* ∝ π_ref e^{R/β}. Everything is differentiable in the reward.
struct KlObjective {
  Tensor log_ref, reward;  // [..., S]
  double beta = 1;

  Tensor value(const Tensor& log_p) const;  // J: [...]
  Tensor log_z() const;                     // log Σ_y π_ref(y) e^{R(y)/β}: [...]
  Tensor log_optimum() const;               // log π*: [..., S]
};

}  // namespace luce::oracle
