#include "loss/check_subject.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

namespace luce::checks {

std::string rounded(double x) {
  if (std::isnan(x)) return "NaN";
  if (x == 0) return "0";  // of either sign
  std::ostringstream out;
  out << std::setprecision(3) << x;
  return out.str();
}

Outcome evaluate(const SequenceLoss& loss, const MadeStep& step, const Totals& totals,
                 at::ScalarType dtype) {
  const at::AutoGradMode grad(true);
  GroupInputs x = inputs_of(step, loss.needs(), dtype);
  std::vector<Tensor> leaves{x.logps.values.requires_grad_(true)};
  if (x.candidates) leaves.push_back(x.candidates->logps.requires_grad_(true));
  Outcome out;
  out.terms = loss(x, out.metrics);
  const Tensor value = reduce(out.terms, totals);
  out.value = value.item<double>();
  std::vector<Tensor> found(leaves.size());
  if (value.requires_grad())
    found = torch::autograd::grad({value}, leaves, {}, {}, false, /*allow_unused=*/true);
  const auto numbers = [&](size_t i) {
    const Tensor g = found[i].defined() ? found[i] : at::zeros_like(leaves[i]);
    const Tensor flat = g.detach().to(at::kDouble).contiguous();
    return std::vector<double>(flat.const_data_ptr<double>(),
                               flat.const_data_ptr<double>() + flat.numel());
  };
  const auto of_logps = numbers(0);
  const auto of_candidates = leaves.size() > 1 ? numbers(1) : std::vector<double>();
  auto logp = of_logps.begin(), candidate = of_candidates.begin();
  for (const auto& [example, answers] : step)
    for (size_t k = 0; k < answers.size(); ++k)
      for (const MadeToken& token : answers[k]) {
        if (example.role(k) != Role::mismatched) out.gradient.push_back(*logp);
        ++logp;
        for (size_t i = 0; i < token.candidates.size(); ++i) out.gradient.push_back(*candidate++);
      }
  return out;
}

double value_of(const SequenceLoss& loss, const MadeStep& step, const Totals& totals) {
  const at::NoGradGuard no_grad;
  Metrics unused;
  return reduce(loss(inputs_of(step, loss.needs(), at::kDouble), unused), totals).item<double>();
}

double largest(const std::vector<double>& values) {
  double out = 0;
  for (const double x : values) out = std::max(out, std::abs(x));
  return out;
}

std::string Distance::change(double tolerance) const {
  if (!(value <= tolerance)) return "its value changes";
  return gradient <= tolerance ? "" : "its gradient changes";
}

Distance distance(const Outcome& got, const Outcome& want) {
  if (got.gradient.size() != want.gradient.size()) return {INFINITY, INFINITY};
  const double slope = std::max({largest(got.gradient), largest(want.gradient), 1e-300});
  double apart = 0;
  for (size_t i = 0; i < got.gradient.size(); ++i) {
    const double d = std::abs(got.gradient[i] - want.gradient[i]);
    if (!std::isfinite(d)) return {INFINITY, INFINITY};
    apart = std::max(apart, d);
  }
  const double scale = std::max({std::abs(got.value), std::abs(want.value), slope});
  return {std::abs(got.value - want.value) / scale, apart / slope};
}

void Subject::observe(SequenceLoss& loss, const MadeStep& step) const {
  if (couples_step()) loss.observe(inputs_of(step, needs, at::kDouble));
}

std::unique_ptr<SequenceLoss> Subject::ready_for(const MadeStep& step) const {
  auto loss = make();
  observe(*loss, step);
  return loss;
}

}  // namespace luce::checks
