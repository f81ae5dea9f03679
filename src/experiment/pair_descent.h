// Descent on two answers of which the first always wins: the gap u of their logits, or rewards.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "luce/loss/ipo.h"

namespace luce::experiment {

inline Ipo ipo(double tau) { return Ipo({.beta = tau, .lengths = "sum"}); }
double sigmoid(double x);

/// Descent on the two logits with rate 0.1 widens the gap by 2 · 0.1 · weight(gap).
struct PairDescent {
  std::string name;
  std::function<double(double)> weight;  // −∂loss/∂log π(y₁) where the gap is u
  double scale = 1;                      // from the gap that descends to that of the policy

  double step(double gap) const { return gap + 2 * 0.1 * weight(gap); }
  /// π(y₂) after each of these numbers of steps, which rise.
  std::vector<double> rejected(const std::vector<int>& steps) const;
};

/// DPO, IPO, and a reward model with reinforcement learning, three strengths each. The weights are
/// in closed form, since 100,000 steps of autograd take a minute; `off` is the largest difference
/// to the gradients of the losses themselves.
std::vector<PairDescent> pair_descents(double& off);

}  // namespace luce::experiment
