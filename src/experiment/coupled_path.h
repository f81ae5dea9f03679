// Three answers of which the first is preferred to the second and the third is never seen, and
// policies over them that one number moves.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "luce/loss/loss.h"
#include "luce/oracle/population.h"

namespace luce::experiment {

constexpr double kBeta = 0.1, kEpsilon = 1e-6;

/// Log-probs of a reference that is even on the pair and hardly knows the third answer.
Tensor reference(double epsilon = kEpsilon);

/// Where an increasing function is 0, by bisection between low and high.
double root(const std::function<double(double)>& f, double low, double high);

/// y₁ is preferred with probability p.
oracle::PairPopulation labels(double p);

/// The policies log π_ref + u · direction, normalised.
struct Path {
  Tensor direction;
  Tensor log_ref = reference();

  Tensor policy(const Tensor& u) const;
  double probability(double u, int answer) const;
  double value(const SequenceLoss& of, double u) const;
  double slope(const SequenceLoss& of, double u) const;
  /// Where the loss is lowest.
  double lowest(const SequenceLoss& of,
                const oracle::PairPopulation& pairs = oracle::one_pair()) const;
};

Path free_path();     // u is the gap of two free logits: (½, −½, 0)
Path coupled_path();  // shared features: (1, 0, 2)

/// The points of a coupled path that are worth a name.
struct Landmarks {
  double peak, half, nine;  // π(y₁) is highest; π(y₃) = ½; π(y₃) = 9 π(y₁)
  explicit Landmarks(const Path& path);
};

/// DPO and α times the likelihood of the chosen answer.
std::unique_ptr<SequenceLoss> with_likelihood(double alpha);

/// Losses that have a minimum on the coupled path.
struct Candidate {
  std::string name;
  std::unique_ptr<SequenceLoss> loss;
};
std::vector<Candidate> candidates();

}  // namespace luce::experiment
