#include "luce/loss/check.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "loss/check_subject.h"
#include "luce/base/error.h"

namespace luce {
namespace checks {
namespace {

/// Why the loss throws where it is given what it asks for: it reads more than that.
std::string undeclared(const Subject& subject, const MadeStep& step) {
  const auto works_with = [&](const Needs& needs) {
    return thrown_by([&] {
             auto loss = subject.make();
             const GroupInputs x = inputs_of(step, needs, at::kDouble);
             if (subject.couples_step()) loss->observe(x);
             Metrics unused;
             (*loss)(x, unused);
           })
        .empty();
  };
  Needs more = subject.needs;
  more.reference = true;
  if (!subject.needs.reference && works_with(more))
    return "it reads the reference's log-probs but needs().reference is false";
  more = subject.needs;
  more.log_sum_p2 = true;
  if (!subject.needs.log_sum_p2 && works_with(more))
    return "it reads log Σp² but needs().log_sum_p2 is false";
  return "";
}

std::string wrong_with(const Term& term) {
  if (!term.value.defined()) return "has no value";
  if (!term.value.is_floating_point()) return "is " + shown(term.value) + ", not floating point";
  if (!std::isfinite(term.weight)) return "has a weight that is not finite";
  if (!at::isfinite(term.value).all().item<bool>())
    return "holds a value that is not finite, on ordinary log-probs";
  return "";
}

Finding terms(const Subject& subject) {
  if (subject.needs.mismatched && !subject.couples_step())
    return fail("needs().mismatched goes with Coupling::step, and the loss declares another");
  std::string shapes;
  bool differentiable = false;
  for (uint64_t index = 0; index < kSteps; ++index) {
    const MadeStep step = subject.step(index);
    Terms found;
    const std::string thrown = thrown_by([&] {
      const at::AutoGradMode grad(true);
      GroupInputs x = inputs_of(step, subject.needs, at::kDouble);
      x.logps.values.requires_grad_(true);
      if (x.candidates) x.candidates->logps.requires_grad_(true);
      Metrics unused;
      found = (*subject.ready_for(step))(x, unused);
    });
    if (!thrown.empty()) {
      const std::string why = undeclared(subject, step);
      return fail(why.empty() ? "it throws: " + thrown : why);
    }
    if (found.empty()) return fail("it returns no terms, but needs().logps is true");
    shapes.clear();
    for (size_t i = 0; i < found.size(); ++i) {
      const std::string wrong = wrong_with(found[i]);
      if (!wrong.empty()) return fail(cat("term ", i, " ", wrong));
      differentiable |= found[i].value.requires_grad();
      shapes += (i ? ", " : "") + shown(found[i].value);
    }
  }
  if (!differentiable) return fail("its value does not depend on the log-probs");
  return {.what = shapes};
}

Finding divergences(const Subject& subject) {
  const auto& all = subject.needs.divergences;
  if (all.empty() && !subject.needs.logps)
    return fail("there is nothing to learn: needs().logps is false, and there are no divergences");
  if (!subject.needs.reference)
    return fail("divergences are from the reference, but needs().reference is false");
  for (size_t i = 0; i < all.size(); ++i) {
    const auto& [kind, beta, temperature, per, weight] = all[i];
    if (kind == Divergence::jensen_shannon && !(beta > 0 && beta < 1))
      return fail(cat("divergence ", i, ": beta must be above 0 and below 1; got ", beta));
    if (!(temperature > 0 && std::isfinite(temperature)))
      return fail(cat("divergence ", i, ": temperature must be above 0; got ", temperature));
    if (!std::isfinite(weight))
      return fail(cat("divergence ", i, ": weight must be a number; got ", weight));
  }
  if (subject.needs.logps) return {.what = cat(all.size(), " beside the terms")};
  Metrics unused;
  const MadeStep step = subject.step(0);
  if (!(*subject.make())(inputs_of(step, subject.needs, at::kDouble), unused).empty())
    return fail("it returns terms, but needs().logps is false: nobody asks for them");
  return {.what = cat(all.size(), " of whole distributions; no token has a term of its own")};
}

Finding metrics(const Subject& subject) {
  const MadeStep step = subject.step(0);
  std::string names;
  for (const auto& [name, mean] : subject.outcome(step, totals_of(step)).metrics.means())
    names += (names.empty() ? "" : ", ") + name;
  return {.what = names.empty() ? "it adds none" : names};
}

Finding state(const Subject& subject) {
  const MadeStep first = subject.step(0), second = subject.step(1);
  const auto next = [&](SequenceLoss& loss) {
    subject.observe(loss, second);
    return evaluate(loss, second, totals_of(second));
  };
  const auto trained = subject.ready_for(first);
  evaluate(*trained, first, totals_of(first));
  const Json saved = trained->state();
  const auto resumed = subject.make();
  if (!saved.is_null()) resumed->load_state(parse_json(saved.dump(), "state()"));
  const Outcome on = next(*trained), again = next(*resumed);
  if (!distance(again, on).change(kExact).empty())
    return fail(saved.is_null()
                    ? "its value depends on earlier steps, but state() is null: a run that is "
                      "resumed would differ"
                    : cat("after state() and load_state() its next value is ", again.value,
                          " instead of ", on.value));
  if (!subject.couples_step()) {
    const auto shown_first = subject.make();
    shown_first->observe(inputs_of(first, subject.needs, at::kDouble));
    if (!distance(next(*shown_first), on).change(kExact).empty())
      return fail("observe() changes its value, but is called only under Coupling::step");
  }
  return {.what = saved.is_null() ? "it has none" : "goes on as before: " + saved.dump()};
}

std::vector<LossCheck> examine(const Subject& subject) {
  std::vector<LossCheck> out;
  const auto run = [&](const std::string& name, Finding (*check)(const Subject&)) {
    Finding finding;
    const std::string thrown = thrown_by([&] { finding = check(subject); });
    if (!thrown.empty()) finding = fail("it throws: " + thrown);
    out.push_back({name, finding.passed, finding.what});
    return finding.passed;
  };
  if (!subject.needs.logps || !subject.needs.divergences.empty()) run("divergences", divergences);
  if (!subject.needs.logps || !run("terms", terms)) return out;
  run("finite differences", finite_differences);
  run("micro-batches", micro_batches);
  run("order", order);
  run("neighbours", neighbours);
  run("f32", single_precision);
  run("gradient weights", gradient_weights);
  run("extremes", extremes);
  run("state", state);
  run("metrics", metrics);
  return out;
}

}  // namespace
}  // namespace checks

std::vector<LossCheck> check_loss(const std::function<std::unique_ptr<SequenceLoss>()>& make,
                                  const CheckOptions& options) {
  return checks::examine({.make = make, .options = options, .needs = make()->needs()});
}

}  // namespace luce
