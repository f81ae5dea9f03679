#include "experiment/coupled_path.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/ipo.h"
#include "luce/loss/mix.h"
#include "luce/loss/sft.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/table.h"

namespace luce::experiment {

using oracle::minimise, oracle::numbers, oracle::PairPopulation;

namespace {

Tensor loss_at(const Path& path, const SequenceLoss& loss, const Tensor& u,
               const PairPopulation& pairs = oracle::one_pair()) {
  return oracle::population_loss(loss, pairs, oracle::one_token_each(path.policy(u)),
                                 oracle::one_token_each(path.log_ref));
}

}  // namespace

double root(const std::function<double(double)>& f, double low, double high) {
  while (high - low > 1e-13 * std::max(1.0, std::abs(high))) {
    const double middle = (low + high) / 2;
    (f(middle) < 0 ? low : high) = middle;
  }
  return (low + high) / 2;
}

Tensor reference(double epsilon) {
  return numbers({(1 - epsilon) / 2, (1 - epsilon) / 2, epsilon}).log();
}

PairPopulation labels(double p) { return {{0, 1}, {1, 0}, numbers({p, 1 - p})}; }

Tensor Path::policy(const Tensor& u) const { return oracle::coupled_policy(log_ref, direction, u); }

double Path::probability(double u, int answer) const {
  return policy(numbers({u}))[answer].exp().item<double>();
}

double Path::value(const SequenceLoss& of, double u) const {
  return loss_at(*this, of, numbers({u})).item<double>();
}

double Path::slope(const SequenceLoss& of, double u) const {
  const Tensor at = numbers({u}).requires_grad_(true);
  return oracle::gradient(loss_at(*this, of, at), at).item<double>();
}

double Path::lowest(const SequenceLoss& of, const PairPopulation& pairs) const {
  return minimise([&](const Tensor& u) { return loss_at(*this, of, u, pairs); }, numbers({0}))
      .x.item<double>();
}

Path free_path() { return {.direction = numbers({0.5, -0.5, 0})}; }
Path coupled_path() { return {.direction = numbers({1, 0, 2})}; }

Landmarks::Landmarks(const Path& path)
    : peak(minimise([&](const Tensor& u) { return -path.policy(u)[0]; }, numbers({1}))
               .x.item<double>()),
      half(root([&](double u) { return path.probability(u, 2) - 0.5; }, 0, 100)),
      nine(root([&](double u) { return path.probability(u, 2) - 9 * path.probability(u, 0); }, 0,
                100)) {}

std::unique_ptr<SequenceLoss> with_likelihood(double alpha) {
  std::vector<LossMix::Part> parts;
  parts.push_back({std::make_unique<Dpo>(DpoOptions{.beta = kBeta}), 1});
  parts.push_back({std::make_unique<Sft>(), alpha});
  return std::make_unique<LossMix>(std::move(parts));
}

std::vector<Candidate> candidates() {
  std::vector<Candidate> all;
  const auto add = [&](const std::string& name, std::unique_ptr<SequenceLoss> loss) {
    all.push_back({name, std::move(loss)});
  };
  for (const double smoothing : {0.1, 0.3})
    add(cat("dpo, label_smoothing ", number(smoothing)),
        std::make_unique<Dpo>(DpoOptions{.beta = kBeta, .label_smoothing = smoothing}));
  for (const double tau : {0.1, 0.03})
    add(cat("ipo, beta ", number(tau)),
        std::make_unique<Ipo>(IpoOptions{.beta = tau, .lengths = "sum"}));
  for (const double alpha : {0.01, 0.1, 1.0})
    add(cat("dpo + ", number(alpha), " sft"), with_likelihood(alpha));
  return all;
}

}  // namespace luce::experiment
