// The gradient of a loss: whether it is that of its value, its weights, and how it fares at
// extremes.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "loss/check_subject.h"
#include "luce/base/error.h"

namespace luce::checks {

Finding finite_differences(const Subject& subject) {
  if (subject.options.holds_constants)
    return {.what = "not compared: the loss holds a part of its value constant"};
  constexpr double step_size = 1e-5;
  double worst = 0;
  int64_t compared = 0, kinks = 0;
  for (uint64_t index = 0; index < kSteps; ++index) {
    MadeStep step = subject.step(index);
    const Totals totals = totals_of(step);
    const auto loss = subject.ready_for(step);
    const Outcome here = evaluate(*loss, step, totals);
    const double scale = std::max(largest(here.gradient), 1e-300);
    const auto places = places_of(step);
    for (size_t i = 0; i < places.size(); ++i) {
      double& logp = *places[i].logp;
      const double at = logp;
      logp = at + step_size;
      const double above = value_of(*loss, step, totals);
      logp = at - step_size;
      const double below = value_of(*loss, step, totals);
      logp = at;
      const double slope = (above - below) / (2 * step_size);
      const double bend = (above - 2 * here.value + below) / step_size;
      if (std::abs(bend) > 1e-3 * std::max(scale, std::abs(slope))) {
        ++kinks;  // the slopes to both sides differ
        continue;
      }
      ++compared;
      const double error = std::abs(slope - here.gradient[i]) / scale;
      if (!(error <= 1e-6))
        return fail(cat("the gradient at ", places[i].name, " is ", rounded(here.gradient[i]),
                        " by autograd and ", rounded(slope),
                        " by central differences; a loss that holds a part of its value constant "
                        "on purpose must say so (CheckOptions::holds_constants, --constants)"));
      worst = std::max(worst, error);
    }
  }
  if (kinks > compared)
    return fail(cat("the slopes to both sides differ at ", kinks, " of ", kinks + compared,
                    " log-probs: its value jumps, or depends on more than the log-probs"));
  return {.what = cat("largest relative error ", rounded(worst), " at ", compared, " log-probs",
                      kinks ? cat(", ", kinks, " at a kink left out") : "")};
}

/// Of each answer the mean over its tokens, times the first term's total: what training logs as
/// weights/chosen and weights/rejected, positive where chosen answers are raised and rejected ones
/// lowered.
Finding gradient_weights(const Subject& subject) {
  std::ostringstream table;
  std::string negative;
  for (const double margin : {-2.0, 0.0, 2.0}) {
    const MadeStep pair = made_pair(*subject.make(), margin);
    const Totals totals = totals_of(pair);
    const Outcome found = subject.outcome(pair, totals);
    double weight[2] = {0, 0};
    size_t at = 0;
    for (size_t k = 0; k < 2; ++k) {
      const auto& answer = pair[0].answers[k];
      for (const MadeToken& token : answer) {
        weight[k] += found.gradient[at] / static_cast<double>(answer.size());
        at += 1 + token.candidates.size();
      }
      weight[k] *= totals.of(found.terms.front().per) * (k == 0 ? -1 : 1);
    }
    table << "\n" << std::setw(6) << margin;
    for (const double w : weight) table << std::setw(12) << rounded(w);
    if (weight[0] < 0) negative += cat(negative.empty() ? "" : ", ", margin);
  }
  const std::string remark = negative.empty()
                                 ? ""
                                 : cat("; remark: that of the chosen answer is negative at margin ",
                                       negative, ", where its log-prob is lowered");
  return {.what = cat("of a chosen and a rejected answer, by their margin in nats", remark,
                      "\nmargin      chosen    rejected", table.str())};
}

Finding extremes(const Subject& subject) {
  const auto all = extreme_steps(*subject.make(), subject.options.seed);
  for (const auto& [name, step] : all) {
    Outcome found;
    const std::string thrown =
        thrown_by([&] { found = subject.outcome(step, totals_of(step), at::kFloat); });
    if (!thrown.empty()) return fail(cat("with ", name, " it throws: ", thrown));
    if (!std::isfinite(found.value))
      return fail(cat("with ", name, " its value is ", rounded(found.value)));
    MadeStep copy = step;
    const auto places = places_of(copy);
    for (size_t i = 0; i < places.size(); ++i)
      if (!std::isfinite(found.gradient[i]))
        return fail(cat("with ", name, " its gradient is ", rounded(found.gradient[i]), " at ",
                        places[i].name));
  }
  return {.what = cat("finite in all ", all.size(), " cases")};
}

}  // namespace luce::checks
