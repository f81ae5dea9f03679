// What the parts of check_loss share: the loss that is examined, and what comes out of it.
#pragma once

#include <c10/util/Exception.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "loss/check_rows.h"
#include "luce/base/metrics.h"
#include "luce/loss/check.h"

namespace luce::checks {

constexpr uint64_t kSteps = 4;  // each with other rows
constexpr double kExact = 1e-12;

struct Finding {
  bool passed = true;
  std::string what;
};
inline Finding fail(const std::string& what) { return {false, what}; }

/// "3.14e-10", "NaN" or "-inf".
std::string rounded(double x);

/// The loss on a step.
struct Outcome {
  Terms terms;
  double value = 0;
  std::vector<double> gradient;  // at the step's places
  Metrics metrics = {};
};
Outcome evaluate(const SequenceLoss& loss, const MadeStep& step, const Totals& totals,
                 at::ScalarType dtype = at::kDouble);
/// The same without a gradient.
double value_of(const SequenceLoss& loss, const MadeStep& step, const Totals& totals);

double largest(const std::vector<double>& values);

/// How far one outcome is from another, relative to the largest gradient.
struct Distance {
  double value = 0, gradient = 0;
  double larger() const { return value > gradient ? value : gradient; }
  /// "its value changes", or its gradient; "" where both stay within the tolerance.
  std::string change(double tolerance) const;
};
Distance distance(const Outcome& got, const Outcome& want);

/// The loss under examination.
struct Subject {
  const std::function<std::unique_ptr<SequenceLoss>()>& make;
  const CheckOptions& options;
  Needs needs;

  bool couples_step() const { return needs.couples == Coupling::step; }
  MadeStep step(uint64_t index) const { return made_step(*make(), options.seed, index); }
  /// Shows a step to a loss that couples it.
  void observe(SequenceLoss& loss, const MadeStep& step) const;
  /// A fresh loss that has observed the step.
  std::unique_ptr<SequenceLoss> ready_for(const MadeStep& step) const;
  Outcome outcome(const MadeStep& of, const Totals& totals,
                  at::ScalarType dtype = at::kDouble) const {
    return evaluate(*ready_for(of), of, totals, dtype);
  }
};

/// What a call throws; "" where it throws nothing.
template <class Call>
std::string thrown_by(const Call& call) {
  try {
    call();
  } catch (const c10::Error& failure) {
    return failure.what_without_backtrace();
  } catch (const std::exception& failure) {
    return failure.what();
  }
  return "";
}

Finding finite_differences(const Subject& subject);
Finding gradient_weights(const Subject& subject);
Finding extremes(const Subject& subject);

Finding micro_batches(const Subject& subject);
Finding order(const Subject& subject);
Finding neighbours(const Subject& subject);
Finding single_precision(const Subject& subject);

}  // namespace luce::checks
