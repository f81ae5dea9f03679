// What must not change the outcome of a loss.
#include <algorithm>

#include "loss/check_subject.h"
#include "luce/base/error.h"
#include "luce/base/random.h"

namespace luce::checks {
namespace {

struct Level {
  Coupling coupling;
  const char *name, *between;
};
constexpr Level kLevels[] = {{Coupling::step, "Coupling::step", ""},
                             {Coupling::group, "Coupling::group", "groups"},
                             {Coupling::sequence, "Coupling::sequence", "answers"},
                             {Coupling::token, "Coupling::token", "tokens"}};

/// The step's outcome put together from its parts.
Outcome pieced(const Subject& subject, const MadeStep& step, const Totals& totals, Coupling level) {
  Outcome all;
  for (const MadeStep& part : cut(step, level)) {
    const Outcome one = subject.outcome(part, totals);
    all.value += one.value;
    all.gradient.insert(all.gradient.end(), one.gradient.begin(), one.gradient.end());
  }
  return all;
}

/// What changes when steps are cut; "" where nothing does.
std::string changes_when_cut(const Subject& subject, Coupling level, double& worst) {
  for (uint64_t index = 0; index < kSteps; ++index) {
    const MadeStep step = subject.step(index);
    const Totals totals = totals_of(step);
    Distance d;
    const std::string thrown = thrown_by(
        [&] { d = distance(pieced(subject, step, totals, level), subject.outcome(step, totals)); });
    if (!thrown.empty()) return "it throws \"" + thrown + "\"";
    if (const std::string changed = d.change(kExact); !changed.empty()) return changed;
    worst = std::max(worst, d.larger());
  }
  return "";
}

}  // namespace

Finding micro_batches(const Subject& subject) {
  double worst = 0;
  if (subject.couples_step()) {
    const bool same =
        !subject.needs.mismatched && changes_when_cut(subject, Coupling::group, worst).empty();
    return {.what = same ? "remark: it declares Coupling::step, but gives the same when cut "
                           "between groups: Coupling::group would save the policy's second pass"
                         : "not cut: it couples the step"};
  }
  const Level& declared =
      *std::find_if(std::begin(kLevels), std::end(kLevels),
                    [&](const Level& l) { return l.coupling == subject.needs.couples; });
  std::string between;
  for (const Level* level = kLevels + 1; level <= &declared; ++level) {
    const std::string changed = changes_when_cut(subject, level->coupling, worst);
    if (!changed.empty())
      return fail(cat("it declares ", declared.name, ", but ", changed,
                      " when the step is cut between ", level->between, ": declare ",
                      (level - 1)->name));
    between += cat(between.empty() ? "" : ", ", level->between);
  }
  return {.what = cat("cut between ", between, ": largest relative difference ", rounded(worst))};
}

Finding order(const Subject& subject) {
  double worst = 0;
  for (uint64_t index = 0; index < kSteps; ++index) {
    MadeStep step = subject.step(index);
    const Totals totals = totals_of(step);
    const Outcome whole = subject.outcome(step, totals);
    const auto other = Random(subject.options.seed, Purpose::shuffle)
                           .permutation(index, static_cast<int64_t>(step.size()));
    MadeStep moved;
    Outcome want{.terms = {}, .value = whole.value, .gradient = {}};
    std::vector<size_t> begin{0};  // of each row's gradient
    for (const MadeRow& row : step) {
      MadeStep alone{row};
      begin.push_back(begin.back() + places_of(alone).size());
    }
    for (const int64_t row : other) {
      const auto q = static_cast<size_t>(row);
      moved.push_back(step[q]);
      for (size_t i = begin[q]; i < begin[q + 1]; ++i) want.gradient.push_back(whole.gradient[i]);
    }
    const Distance d = distance(subject.outcome(moved, totals), want);
    if (const std::string changed = d.change(kExact); !changed.empty())
      return fail(changed + " when groups change places");
    worst = std::max(worst, d.larger());
  }
  return {.what = "largest relative difference " + rounded(worst)};
}

Finding neighbours(const Subject& subject) {
  if (subject.couples_step()) return {.what = "not tried: it couples the step"};
  double worst = 0;
  const MadeStep step = subject.step(0);
  const Totals totals = totals_of(step);
  const Outcome alone = subject.outcome(step, totals);
  for (const auto& [name, others] : extreme_steps(*subject.make(), subject.options.seed)) {
    MadeStep wide = step;
    wide.insert(wide.end(), others.begin(), others.end());
    Outcome beside = subject.outcome(wide, totals);
    beside.gradient.resize(alone.gradient.size());
    beside.value = alone.value;
    const Distance d = distance(beside, alone);
    if (!(d.gradient <= kExact))
      return fail("the gradient of groups changes beside others with " + name);
    worst = std::max(worst, d.gradient);
  }
  return {.what = "largest relative difference " + rounded(worst)};
}

Finding single_precision(const Subject& subject) {
  double worst = 0;
  for (uint64_t index = 0; index < kSteps; ++index) {
    MadeStep step = subject.step(index);
    for (MadeRow& row : step)
      for (auto& answer : row.answers)
        for (MadeToken& token : answer) {
          for (double* x : {&token.logp, &token.ref_logp, &token.log_sum_p2})
            *x = static_cast<float>(*x);
          for (double& x : token.candidates) x = static_cast<float>(x);
        }
    const Totals totals = totals_of(step);
    const Distance d =
        distance(subject.outcome(step, totals, at::kFloat), subject.outcome(step, totals));
    if (const std::string changed = d.change(1e-5); !changed.empty())
      return fail(cat(changed, " by ", rounded(d.larger()), " when the log-probs come as f32"));
    worst = std::max(worst, d.larger());
  }
  return {.what = "largest relative difference " + rounded(worst)};
}

}  // namespace luce::checks
