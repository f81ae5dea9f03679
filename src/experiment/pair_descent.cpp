#include "experiment/pair_descent.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/oracle/table.h"

namespace luce::experiment {
namespace {

using oracle::numbers;

/// The weight of the pair where the gap is u, by the loss's own gradient.
double weight(const PairLoss& loss, double u) {
  const Tensor zero = numbers({0});
  PairInputs pair{.logps = {numbers({u}), zero}, .mean_logps = {numbers({u}), zero}};
  pair.length = {numbers({1}), numbers({1})};
  pair.ref_logps = pair.ref_mean_logps = Pair<Tensor>{zero, zero};
  return gradient_weights(loss, pair).chosen.item<double>();
}

}  // namespace

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<double> PairDescent::rejected(const std::vector<int>& steps) const {
  std::vector<double> left;
  double gap = 0;
  int done = 0;
  for (const int stop : steps) {
    for (; done < stop; ++done) gap = step(gap);
    left.push_back(sigmoid(-gap * scale));
  }
  return left;
}

std::vector<PairDescent> pair_descents(double& off) {
  std::vector<PairDescent> all;
  const auto check = [&](const PairDescent& method, const PairLoss& loss) {
    for (const double u : {0.0, 0.5, 3.0, 20.0})
      off = std::max(off, std::abs(method.weight(u) - weight(loss, u)));
    all.push_back(method);
  };
  for (const double beta : {0.1, 1.0, 10.0})
    check({cat("dpo, β = ", number(beta)), [beta](double u) { return beta * sigmoid(-beta * u); }},
          Dpo({.beta = beta}));
  for (const double tau : {1.0, 0.5, 0.1})
    check({cat("ipo, τ = ", number(tau)), [tau](double u) { return 2 * (1 / (2 * tau) - u); }},
          ipo(tau));
  // Bradley–Terry is DPO at β = 1 on rewards; the optimum then has the gap Δ/β.
  for (const double beta : {0.1, 1.0, 10.0})
    check({cat("reward model + RL, β = ", number(beta)), [](double r) { return sigmoid(-r); },
           1 / beta},
          Dpo({.beta = 1}));
  return all;
}

}  // namespace luce::experiment
