// The examination of losses: that it passes those that are right, and says what is wrong with
// others.
#include "luce/loss/check.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "luce/base/error.h"
#include "luce/loss/registry.h"

namespace luce {
namespace {

using Checks = std::vector<LossCheck>;

const LossCheck& named(const Checks& checks, const std::string& name) {
  for (const LossCheck& check : checks)
    if (check.name == name) return check;
  throw ArgumentError("no check is named " + name);
}

/// The sentence of a check that must fail.
std::string failure(const Checks& checks, const std::string& name) {
  const LossCheck& check = named(checks, name);
  EXPECT_FALSE(check.passed) << check.what;
  return check.what;
}

/// The sentence of a check that must pass.
std::string success(const Checks& checks, const std::string& name) {
  const LossCheck& check = named(checks, name);
  EXPECT_TRUE(check.passed) << check.what;
  return check.what;
}

void expect_passes(const Checks& checks, const std::string& loss) {
  EXPECT_FALSE(checks.empty()) << loss;
  for (const LossCheck& check : checks)
    EXPECT_TRUE(check.passed) << loss << ", " << check.name << ": " << check.what;
}

Checks check_config(const std::string& loss, const CheckOptions& options = {}) {
  const auto registry = Registry::with_builtins();
  const Document config("{\"loss\": " + loss + "}", "config.json");
  return check_loss([&] { return registry.make_loss(config); }, options);
}

/// A loss of pairs from a function of them, and what it needs.
class FunctionLoss : public PairLoss {
 public:
  using Value = std::function<Tensor(const PairInputs&)>;
  FunctionLoss(const Needs& needs, Value value) : needs_(needs), value_(std::move(value)) {}
  Needs needs() const override { return needs_; }
  Tensor values(const PairInputs& pair, Metrics&) const override { return value_(pair); }

 private:
  Needs needs_;
  Value value_;
};

Checks check_pairs(const Needs& needs, const FunctionLoss::Value& value) {
  return check_loss([&] { return std::make_unique<FunctionLoss>(needs, value); });
}

/// The same of whole groups.
class TermLoss : public SequenceLoss {
 public:
  using Value = std::function<Terms(const GroupInputs&)>;
  TermLoss(const Needs& needs, Value value) : needs_(needs), value_(std::move(value)) {}
  Needs needs() const override { return needs_; }
  Terms operator()(const GroupInputs& x, Metrics&) const override { return value_(x); }

 private:
  Needs needs_;
  Value value_;
};

Checks check_terms(const Needs& needs, const TermLoss::Value& value) {
  return check_loss([&] { return std::make_unique<TermLoss>(needs, value); });
}

Tensor gap(const PairInputs& pair) { return pair.logps.chosen - pair.logps.rejected; }

template <class L>
Checks check_class() {
  return check_loss([] { return std::make_unique<L>(); });
}

// --- losses that are right ------------------------------------------------------------------

TEST(CheckLoss, PassesEveryBuiltInLoss) {
  const auto registry = Registry::with_builtins();
  EXPECT_GT(registry.losses().size(), 30U);
  for (const auto& info : registry.losses())
    expect_passes(check_config("{\"type\": \"" + info.name + "\"}"), info.name);
}

TEST(CheckLoss, PassesOtherFormsModifiersAndMixtures) {
  for (const std::string loss :
       {R"({"type": "unlikelihood", "form": "token"})",
        R"({"type": "unlikelihood", "form": "plain"})", R"({"type": "tpo", "form": "tpo-l"})",
        R"({"type": "plackett_luce", "form": "top1"})",
        R"({"type": "dpo", "f_divergence_type": "js_divergence"})",
        R"({"type": "dpo", "ld_alpha": 0.3, "rpo_alpha": 0.5, "label_smoothing": 0.1})",
        R"({"type": ["dpo", "sft"], "weights": [1, 0.2]})", R"({"type": ["kto", "sft"]})",
        R"({"type": ["bco", "dpo"]})", R"({"type": ["dpo", "distillation"]})"})
    expect_passes(check_config(loss), loss);
}

TEST(CheckLoss, TriesEverythingThatAppliesToALoss) {
  const auto names = [](const Checks& checks) {
    std::string out;
    for (const LossCheck& check : checks) out += check.name + ", ";
    return out;
  };
  const std::string all =
      "terms, finite differences, micro-batches, order, neighbours, f32, gradient weights, "
      "extremes, state, metrics, ";
  EXPECT_EQ(names(check_config(R"({"type": "dpo"})")), all);
  EXPECT_EQ(names(check_config(R"({"type": "generative"})")), "divergences, " + all);
  EXPECT_EQ(names(check_config(R"({"type": "distillation"})")), "divergences, ");
}

TEST(CheckLoss, TellsWhatItFound) {
  const auto dpo = check_config(R"({"type": "dpo"})");
  EXPECT_EQ(success(dpo, "terms"), "f64 [6]");
  EXPECT_EQ(success(dpo, "gradient weights"),  // β σ(−β margin)
            "of a chosen and a rejected answer, by their margin in nats\n"
            "margin      chosen    rejected\n"
            "    -2       0.055       0.055\n"
            "     0        0.05        0.05\n"
            "     2       0.045       0.045");
  EXPECT_EQ(success(dpo, "extremes"), "finite in all 9 cases");
  EXPECT_EQ(success(dpo, "metrics"), "it adds none");
  EXPECT_EQ(success(dpo, "state"), "it has none");
  const auto kto = check_config(R"({"type": "kto"})");
  EXPECT_EQ(success(kto, "micro-batches"), "not cut: it couples the step");
  EXPECT_EQ(success(kto, "neighbours"), "not tried: it couples the step");
  EXPECT_EQ(success(kto, "metrics"), "kl");
  const auto bco = check_config(R"({"type": "bco"})");
  EXPECT_EQ(success(bco, "state").rfind("goes on as before: {\"delta\":", 0), 0U);
  EXPECT_EQ(success(check_config(R"({"type": "generative"})"), "divergences"),
            "1 beside the terms");
  EXPECT_EQ(success(check_config(R"({"type": "distillation"})"), "divergences"),
            "1 of whole distributions; no token has a term of its own");
}

TEST(CheckLoss, CutsAsFarAsTheLossAllows) {
  const auto begins = [](const std::string& loss, const std::string& with) {
    const std::string what = success(check_config(loss), "micro-batches");
    EXPECT_EQ(what.substr(0, with.size()), with);
  };
  begins(R"({"type": "dpo"})", "cut between groups: ");
  begins(R"({"type": "apo_zero_unpaired"})", "cut between groups, answers: ");
  begins(R"({"type": "sft"})", "cut between groups, answers, tokens: ");
}

TEST(CheckLoss, RemarksOnACouplingThatIsNotNeeded) {
  const auto checks =
      check_pairs({.couples = Coupling::step}, [](const PairInputs& pair) { return -gap(pair); });
  EXPECT_EQ(success(checks, "micro-batches"),
            "remark: it declares Coupling::step, but gives the same when cut between groups: "
            "Coupling::group would save the policy's second pass");
}

TEST(CheckLoss, RemarksOnChosenAnswersThatAreLowered) {
  const auto checks = check_pairs({}, [](const PairInputs& pair) { return gap(pair).square(); });
  EXPECT_EQ(success(checks, "gradient weights"),
            "of a chosen and a rejected answer, by their margin in nats; remark: that of the "
            "chosen answer is negative at margin 2, where its log-prob is lowered\n"
            "margin      chosen    rejected\n"
            "    -2           4           4\n"
            "     0           0           0\n"
            "     2          -4          -4");
}

TEST(CheckLoss, LeavesKinksOutAndCountsThem) {
  const auto checks = check_pairs({}, [](const PairInputs& pair) {
    const Tensor x = 2500 * pair.logps.chosen;  // a triangle wave: a kink every 2e-4 nats
    return (x - x.round()).abs() / 2500 - gap(pair);
  });
  const std::string what = success(checks, "finite differences");
  EXPECT_EQ(what.substr(what.find(" at ")), " at 164 log-probs, 15 at a kink left out");
}

// --- losses that are wrong ------------------------------------------------------------------

TEST(CheckLoss, FindsAGradientThatIsNotThatOfTheValue) {
  const auto value = [](const PairInputs& pair) {
    return pair.logps.rejected.detach() - pair.logps.chosen;
  };
  EXPECT_EQ(failure(check_pairs({}, value), "finite differences"),
            "the gradient at token 0 of the rejected answer of row 1 is 0 by autograd and 0.167 by "
            "central differences; a loss that holds a part of its value constant on purpose must "
            "say so (CheckOptions::holds_constants, --constants)");
  const auto meant = check_loss([&] { return std::make_unique<FunctionLoss>(Needs{}, value); },
                                {.holds_constants = true});
  EXPECT_EQ(success(meant, "finite differences"),
            "not compared: the loss holds a part of its value constant");
}

TEST(CheckLoss, FindsAValueThatJumps) {
  const auto checks = check_pairs(
      {}, [](const PairInputs& pair) { return (gap(pair) / 2e-5).floor() * 2e-5 - 2 * gap(pair); });
  EXPECT_EQ(failure(checks, "finite differences"),
            "the slopes to both sides differ at 179 of 179 log-probs: its value jumps, or depends "
            "on more than the log-probs");
}

TEST(CheckLoss, FindsACouplingThatIsTooFine) {
  const auto centred = [](const PairInputs& pair) {
    return (gap(pair) - gap(pair).mean()).square();
  };
  EXPECT_EQ(failure(check_pairs({}, centred), "micro-batches"),
            "it declares Coupling::group, but its value changes when the step is cut between "
            "groups: declare Coupling::step");
  expect_passes(check_pairs({.couples = Coupling::step}, centred), "centred");
  const auto squared = [](const GroupInputs& x) {
    return Terms{{x.logps.sum().square(), Per::sequence}};
  };
  EXPECT_EQ(failure(check_terms({.couples = Coupling::token}, squared), "micro-batches"),
            "it declares Coupling::token, but its value changes when the step is cut between "
            "tokens: declare Coupling::sequence");
  expect_passes(check_terms({.couples = Coupling::sequence}, squared), "squared");
  const auto detached = [](const PairInputs& pair) {  // the same value with another gradient
    const Tensor h = gap(pair), more = h * h.mean().detach();
    return h + more - more.detach();
  };
  EXPECT_EQ(failure(check_pairs({}, detached), "micro-batches"),
            "it declares Coupling::group, but its gradient changes when the step is cut between "
            "groups: declare Coupling::step");
  EXPECT_EQ(failure(check_pairs({.couples = Coupling::sequence},
                                [](const PairInputs& pair) { return -gap(pair); }),
                    "micro-batches"),
            "it declares Coupling::sequence, but it throws \"[PairLoss] every group must hold one "
            "chosen and one rejected answer; got 1 chosen and 0 rejected in 1 groups\" when the "
            "step is cut between answers: declare Coupling::group");
}

TEST(CheckLoss, FindsAValueThatDependsOnTheOrderOfGroups) {
  const auto checks = check_pairs({.couples = Coupling::step}, [](const PairInputs& pair) {
    return -gap(pair) * at::arange(1, gap(pair).numel() + 1, at::kDouble);
  });
  EXPECT_EQ(failure(checks, "order"), "its value changes when groups change places");
}

TEST(CheckLoss, FindsAGroupThatChangesItsNeighbours) {
  const auto checks = check_pairs({}, [](const PairInputs& pair) {
    return -gap(pair) * (gap(pair).detach().abs().max().item<double>() > 100 ? 2 : 1);
  });
  EXPECT_EQ(failure(checks, "neighbours"),
            "the gradient of groups changes beside others with log-ratios of 10000 nats in favour "
            "of the first answer");
}

TEST(CheckLoss, FindsAWrongShape) {
  const auto checks = check_pairs({}, [](const PairInputs& pair) { return gap(pair).sum(); });
  ASSERT_EQ(checks.size(), 1U);  // nothing else can be tried
  EXPECT_EQ(failure(checks, "terms"),
            "it throws: [PairLoss] a loss must return one value a pair, of shape [6]; got f64 []");
}

TEST(CheckLoss, FindsTermsThatAreNone) {
  const auto sentence = [](const Terms& terms) {
    return failure(check_terms({}, [=](const GroupInputs&) { return terms; }), "terms");
  };
  const Tensor one = at::ones({1}, at::kDouble);
  EXPECT_EQ(sentence({}), "it returns no terms, but needs().logps is true");
  EXPECT_EQ(sentence({{one}, {Tensor()}}), "term 1 has no value");
  EXPECT_EQ(sentence({{at::ones({2}, at::kLong)}}), "term 0 is i64 [2], not floating point");
  EXPECT_EQ(sentence({{one, Per::item, NAN}}), "term 0 has a weight that is not finite");
  EXPECT_EQ(sentence({{one.log().log()}}),
            "term 0 holds a value that is not finite, on ordinary log-probs");
  EXPECT_EQ(sentence({{one}}), "its value does not depend on the log-probs");
}

TEST(CheckLoss, FindsWhatIsReadUndeclared) {
  EXPECT_EQ(failure(check_pairs({},
                                [](const PairInputs& pair) {
                                  const auto u = pair.log_ratio();
                                  return u.rejected - u.chosen;
                                }),
                    "terms"),
            "it reads the reference's log-probs but needs().reference is false");
  EXPECT_EQ(failure(check_terms({},
                                [](const GroupInputs& x) {
                                  const Tensor& p2 = x.log_sum_p2.value().values;
                                  return Terms{{-x.logps.values * p2.exp(), Per::token}};
                                }),
                    "terms"),
            "it reads log Σp² but needs().log_sum_p2 is false");
  EXPECT_EQ(
      failure(check_pairs({.mismatched = true}, [](const PairInputs& pair) { return -gap(pair); }),
              "terms"),
      "needs().mismatched goes with Coupling::step, and the loss declares another");
}

TEST(CheckLoss, FindsCandidatesThatFitNoToken) {
  struct OneTooMany : SequenceLoss {
    Needs needs() const override { return {.candidates = true}; }
    Terms operator()(const GroupInputs& x, Metrics&) const override {
      return {{-x.candidates->logps, Per::token}};
    }
    void candidates(const Example&, size_t,
                    std::vector<std::vector<int64_t>>& tokens) const override {
      tokens.push_back({1});
    }
  };
  EXPECT_EQ(failure(check_class<OneTooMany>(), "terms"),
            "it throws: candidates() must keep one list for each of the 1 tokens of a completion; "
            "it left 2");
}

TEST(CheckLoss, FindsNoNumberOnEqualAnswers) {
  const auto checks =
      check_pairs({}, [](const PairInputs& pair) { return gap(pair).square().sqrt(); });
  EXPECT_EQ(failure(checks, "extremes"),
            "with equal answers its gradient is NaN at token 0 of the chosen answer of row 1");
}

TEST(CheckLoss, FindsAnInfiniteValueOrGradientAtExtremes) {
  EXPECT_EQ(failure(check_pairs({}, [](const PairInputs& pair) { return (-gap(pair)).exp(); }),
                    "extremes"),
            "with log-ratios of 10000 nats against the first answer its value is inf");
  EXPECT_EQ(
      failure(check_pairs({}, [](const PairInputs& pair) { return at::sqrt(-pair.logps.chosen); }),
              "extremes"),
      "with log-ratios of 10000 nats in favour of the first answer its gradient is inf at "
      "token 0 of the chosen answer of row 1");
}

TEST(CheckLoss, FindsDigitsThatAreLostInF32) {
  const auto checks = check_terms({}, [](const GroupInputs& x) {
    return Terms{{-((x.logps.values + 4096) - 4096).square(), Per::token}};
  });
  EXPECT_EQ(failure(checks, "f32"), "its value changes by 5.99e-05 when the log-probs come as f32");
}

TEST(CheckLoss, FindsStateThatIsNotKept) {
  struct Forgetful : PairLoss {
    double mean = 0;
    Needs needs() const override { return {.couples = Coupling::step}; }
    void observe(const GroupInputs& step) override {
      mean = mean / 2 + step.logps.values.mean().item<double>() / 2;
    }
    Tensor values(const PairInputs& pair, Metrics&) const override {
      return (gap(pair) - mean).square();
    }
  };
  EXPECT_EQ(failure(check_class<Forgetful>(), "state"),
            "its value depends on earlier steps, but state() is null: a run that is resumed would "
            "differ");
  struct Careless : Forgetful {  // saves its mean, and does not load it
    Json state() const override { return {{"mean", mean}}; }
    void load_state(const Json&) override {}
  };
  EXPECT_EQ(failure(check_class<Careless>(), "state"),
            "after state() and load_state() its next value is 6.79679 instead of 7.72378");
  struct Careful : Careless {
    void load_state(const Json& state) override { mean = state["mean"]; }
  };
  expect_passes(check_class<Careful>(), "careful");
  struct Counting : PairLoss {
    mutable double calls = 0;
    Tensor values(const PairInputs& pair, Metrics&) const override {
      return -gap(pair) * (1 + calls++);
    }
  };
  EXPECT_EQ(failure(check_class<Counting>(), "state"),
            "its value depends on earlier steps, but state() is null: a run that is resumed would "
            "differ");
  struct NeverShown : Forgetful {
    Needs needs() const override { return {}; }
  };
  EXPECT_EQ(failure(check_class<NeverShown>(), "state"),
            "observe() changes its value, but is called only under Coupling::step");
}

TEST(CheckLoss, FindsDivergencesOutOfRange) {
  const auto sentence = [](const Needs& needs) {
    return failure(check_terms(needs, [](const GroupInputs&) { return Terms{}; }), "divergences");
  };
  const auto of = [](const DivergenceTerm& term) {
    return Needs{.reference = true, .logps = false, .divergences = {term}};
  };
  EXPECT_EQ(sentence({.reference = true, .logps = false}),
            "there is nothing to learn: needs().logps is false, and there are no divergences");
  EXPECT_EQ(sentence({.logps = false, .divergences = {{}}}),
            "divergences are from the reference, but needs().reference is false");
  EXPECT_EQ(sentence(of({.kind = Divergence::jensen_shannon, .beta = 1})),
            "divergence 0: beta must be above 0 and below 1; got 1");
  EXPECT_EQ(sentence(of({.temperature = 0})), "divergence 0: temperature must be above 0; got 0");
  EXPECT_EQ(sentence(of({.weight = INFINITY})), "divergence 0: weight must be a number; got inf");
  const auto checks = check_terms(of({}), [](const GroupInputs& x) {
    return Terms{{-x.logps.sum(), Per::sequence}};
  });
  EXPECT_EQ(failure(checks, "divergences"),
            "it returns terms, but needs().logps is false: nobody asks for them");
}

TEST(CheckLoss, GivesTheSameForTheSameSeed) {
  const auto what = [](uint64_t seed) {
    std::string all;
    for (const auto& check : check_config(R"({"type": "dpo"})", {.seed = seed})) all += check.what;
    return all;
  };
  EXPECT_EQ(what(1), what(1));
  EXPECT_NE(what(1), what(2));
}

}  // namespace
}  // namespace luce
