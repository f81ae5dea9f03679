// What the parts of the experiment one-family share: the losses, each with its weights,
//   ∇loss = −c_w ∇log π_w + c_l ∇log π_l.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "luce/experiment/experiment.h"
#include "luce/loss/pair.h"
#include "luce/ops/tensor.h"

namespace luce::family {

constexpr double kBeta = 0.5;  // β, and τ of IPO
constexpr double kDelta = 1;   // δ of SLiC
constexpr double kAlpha = 1;   // α of unlikelihood

/// A policy, its reference and a reward over answers: the first is preferred to the second.
struct Point {
  Tensor logp, log_ref, reward;

  double margin() const;        // log π_w − log π_l
  double ratio_margin() const;  // u_w − u_l
  double reward_margin() const;
  double p_rejected() const;
};

/// What a loss is a function of.
enum class Of { policy, reward, optimum };  // log π; R; log π*(R), differentiated in R

struct Member {
  std::string name, key, formula;
  Of of;
  std::shared_ptr<const SequenceLoss> loss;
  std::function<Pair<double>(const Point&)> closed_form;
};

std::vector<Member> members();

double sigmoid(double x);

/// The weights on a random problem and over a grid of margins.
Findings weights(const ExperimentOptions& options);

/// Losses of a reward whose policy is the optimum for it, as two loops, on answers of which one is
/// never seen.
Findings two_levels(const ExperimentOptions& options);

}  // namespace luce::family
