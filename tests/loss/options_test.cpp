// What the losses refuse, word for word: options out of range, options and losses that do not go
// together, rows and inputs that lack what a loss needs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "loss/inputs.h"
#include "luce/base/error.h"
#include "luce/loss/aot.h"
#include "luce/loss/bco.h"
#include "luce/loss/dpo.h"
#include "luce/loss/kto.h"
#include "luce/loss/mixture.h"
#include "luce/loss/plackett_luce.h"
#include "luce/loss/psi.h"
#include "luce/loss/ranked.h"
#include "luce/loss/sft.h"
#include "luce/loss/tpo.h"
#include "luce/loss/unlikelihood.h"
#include "luce/loss/unpaired.h"
#include "support/support.h"

namespace luce {
namespace {

using test::answer;
using test::f64;
using test::message_of;

/// What is said of a config with this "loss" section on its one line.
std::string refusal(const std::string& section) {
  const Document config("{\"loss\": " + section + "}", "c.json");
  return message_of<UsageError>([&] { Registry::with_builtins().make_loss(config); });
}

/// The losses that have an option.
std::set<std::string> losses_with(const std::string& option) {
  const auto registry = Registry::with_builtins();
  std::set<std::string> names;
  for (const auto& info : registry.losses()) {
    const auto options = info.schema().names();
    if (std::find(options.begin(), options.end(), option) != options.end()) names.insert(info.name);
  }
  return names;
}

std::string with_option(const std::string& loss, const std::string& option,
                        const std::string& value) {
  return R"({"type": ")" + loss + R"(", ")" + option + "\": " + value + "}";
}

TEST(LossOptions, BetaIsAboveZeroInEveryLossThatHasOne) {
  const auto names = losses_with("beta");
  for (const auto& name : names)
    for (const char* value : {"0", "-0.1"})
      EXPECT_EQ(refusal(with_option(name, "beta", value)),
                cat("c.json:1: loss.beta must be above 0; got ", value))
          << name;
  EXPECT_EQ(names.size(), 26u);
  for (const char* name : {"sft", "slic", "unlikelihood", "generative", "psi"})
    EXPECT_EQ(names.count(name), 0u) << name;
}

TEST(LossOptions, LabelSmoothingIsLessThanAHalf) {
  const auto names = losses_with("label_smoothing");
  for (const auto& name : names) {
    EXPECT_EQ(refusal(with_option(name, "label_smoothing", "0.5")),
              "c.json:1: loss.label_smoothing must be below 0.5; got 0.5")
        << name;
    EXPECT_EQ(refusal(with_option(name, "label_smoothing", "-0.1")),
              name == "exo" ? "c.json:1: loss.label_smoothing must be above 0; got -0.1"
                            : "c.json:1: loss.label_smoothing must be at least 0; got -0.1")
        << name;
  }
  EXPECT_EQ(names, (std::set<std::string>{"dpo", "robust", "exo", "aot", "aot_unpaired", "simpo",
                                          "alphapo", "cpo", "tpo"}));
  EXPECT_EQ(refusal(with_option("exo", "label_smoothing", "0")),
            "c.json:1: loss.label_smoothing must be above 0; got 0");
}

TEST(LossOptions, EveryOtherNumberHasItsRange) {
  const struct {
    const char *loss, *option, *value, *range;
  } cases[] = {
      {"discopop", "tau", "0", "above 0"},
      {"psi", "tau", "0", "above 0"},
      {"psi", "tau", "-1", "above 0"},
      {"mixture", "tau", "0", "above 0"},
      {"slic", "delta", "0", "above 0"},
      {"slic", "nll_weight", "-1", "at least 0"},
      {"cpo", "cpo_alpha", "-1", "at least 0"},
      {"tpo", "tpo_alpha", "-1", "at least 0"},
      {"tpo", "gamma", "-1", "at least 0"},
      {"simpo", "gamma", "-1", "at least 0"},
      {"alphapo", "gamma", "-1", "at least 0"},
      {"generative", "kl_weight", "-1", "at least 0"},
      {"kto", "desirable_weight", "-1", "at least 0"},
      {"kto", "undesirable_weight", "-1", "at least 0"},
      {"apo_zero_unpaired", "desirable_weight", "-1", "at least 0"},
      {"apo_zero_unpaired", "undesirable_weight", "-1", "at least 0"},
      {"unlikelihood", "alpha", "0", "above 0"},
      {"unlikelihood", "floor", "0", "below 0"},
      {"distillation", "beta", "1", "below 1"},
      {"distillation", "temperature", "0", "above 0"},
      {"dpo", "ld_alpha", "-0.1", "at least 0"},
      {"dpo", "ld_alpha", "1.5", "at most 1"},
      {"dpo", "rpo_alpha", "-1", "at least 0"},
  };
  for (const auto& c : cases)
    EXPECT_EQ(refusal(with_option(c.loss, c.option, c.value)),
              cat("c.json:1: loss.", c.option, " must be ", c.range, "; got ", c.value))
        << c.loss;
}

TEST(LossOptions, NamesOfFormsAreThoseThatThereAre) {
  const struct {
    const char *loss, *option, *value, *rest;
  } cases[] = {
      {"ipo", "lengths", "\"means\"", "mean, sum (did you mean mean?); got \"means\""},
      {"cpo", "form", "\"hinges\"", "sigmoid, hinge, ipo (did you mean hinge?); got \"hinges\""},
      {"tpo", "form", "\"tpol\"", "sigmoid, hinge, ipo, tpo-l (did you mean tpo-l?); got \"tpol\""},
      {"psi", "psi", "\"cube\"", "identity, logit; got \"cube\""},
      {"plackett_luce", "form", "\"top2\"", "ranking, top1 (did you mean top1?); got \"top2\""},
      {"unlikelihood", "form", "\"flat\"", "sequence, token, plain; got \"flat\""},
      {"unlikelihood", "context", "\"none\"", "all, completion; got \"none\""},
      {"distillation", "divergence", "\"kl\"", "jsd, forward_kl, reverse_kl; got \"kl\""},
      {"dpo", "f_divergence_type", "\"js\"",
       "reverse_kl, forward_kl, js_divergence, alpha_divergence; got \"js\""},
  };
  for (const auto& c : cases)
    EXPECT_EQ(refusal(with_option(c.loss, c.option, c.value)),
              cat("c.json:1: loss.", c.option, " must be one of ", c.rest))
        << c.loss;
}

TEST(LossOptions, ModifiersNeedSomethingToActOn) {
  EXPECT_EQ(refusal(R"({"type": "simpo", "f_divergence_type": "forward_kl"})"),
            "c.json:1: loss: f_divergence_type does nothing: this loss has no reference");
  EXPECT_EQ(refusal(R"({"type": "cpo", "reference_free": true})"),
            "c.json:1: loss: reference_free does nothing: this loss has no reference");
  for (const char* name : {"aot", "aot_unpaired", "nca", "sppo", "apo_zero", "psi"})
    EXPECT_EQ(refusal(with_option(name, "f_divergence_type", "\"forward_kl\"")),
              "c.json:1: loss: f_divergence_type does nothing: this loss compares plain log-ratios")
        << name;
  EXPECT_EQ(refusal(R"({"type": "generative", "reference_free": true})"),
            "c.json:1: loss: reference_free leaves out the reference whose divergence is a term of "
            "this loss");
  for (const char* name : {"aot", "aot_unpaired"})
    EXPECT_EQ(refusal(with_option(name, "use_weighting", "true")),
              "c.json:1: loss: use_weighting weights pairs, and the values of this loss belong to "
              "no single pair");
  EXPECT_EQ(refusal(R"({"type": "kto", "ld_alpha": 0.5})"),
            "c.json:1: unknown key \"ld_alpha\" in loss \"kto\"; known keys: type, weight, beta, "
            "desirable_weight, undesirable_weight");
}

/// An f-divergence either changes a loss or is refused: it never does nothing unsaid.
TEST(LossOptions, NoPairLossIgnoresAnFDivergence) {
  const auto x = test::inputs_of(
      {test::pair_of(answer(Role::chosen, -3, -4.5, 2), answer(Role::rejected, -6, -5.2, 3)),
       test::pair_of(answer(Role::chosen, -2, -1.5, 1), answer(Role::rejected, -1, -0.2, 4))});
  const auto registry = Registry::with_builtins();
  int changed = 0, refused = 0;
  for (const auto& info : registry.losses()) {
    const auto plain = test::make_loss({{"type", info.name}});
    if (dynamic_cast<PairLoss*>(plain.get()) == nullptr) continue;
    const Document config = Document::of(
        {{"loss", {{"type", info.name}, {"f_divergence_type", "forward_kl"}}}}, "test");
    try {
      const auto modified = registry.make_loss(config);
      EXPECT_FALSE(at::equal(test::values_of(*modified, x), test::values_of(*plain, x)))
          << info.name;
      ++changed;
    } catch (const UsageError&) {
      ++refused;
    }
  }
  EXPECT_GE(changed, 7);
  EXPECT_GE(refused, 8);
  EXPECT_EQ(changed + refused, 22);
}

/// A loss whose exact divergence reads the reference cannot do without one.
TEST(LossOptions, ReferenceFreeLossesHaveNoDivergence) {
  const auto registry = Registry::with_builtins();
  int free = 0;
  for (const auto& info : registry.losses()) {
    const Document config =
        Document::of({{"loss", {{"type", info.name}, {"reference_free", true}}}}, "test");
    try {
      const Needs needs = registry.make_loss(config)->needs();
      EXPECT_FALSE(needs.reference) << info.name;
      EXPECT_TRUE(needs.divergences.empty()) << info.name;
      ++free;
    } catch (const UsageError&) {
    }
  }
  EXPECT_GE(free, 15);
}

TEST(LossOptions, MixturesNeedOneKindOfRows) {
  EXPECT_EQ(refusal(R"({"type": ["dpo", "regression"]})"),
            "c.json:1: loss: the losses of a mixture must learn from the same rows");
  EXPECT_EQ(refusal(R"([{"type": "kto"}, {"type": "regression"}])"),
            "c.json:1: loss: the losses of a mixture must learn from the same rows");
  const auto rows = [](const char* section) {
    const Document config(cat("{\"loss\": {\"type\": ", section, "}}"), "c.json");
    return Registry::with_builtins().make_loss(config)->rows();
  };
  EXPECT_EQ(rows(R"(["sft", "kto"])"), Rows::labelled);
  EXPECT_EQ(rows(R"(["kto", "dpo"])"), Rows::pairs);
  EXPECT_EQ(rows(R"(["dpo", "plackett_luce"])"), Rows::pairs);
  EXPECT_EQ(rows(R"(["plackett_luce", "regression"])"), Rows::scored);
}

TEST(LossOptions, OneLossOfAMixtureNamesCandidates) {
  EXPECT_EQ(refusal(R"([{"type": "unlikelihood", "form": "token"},
                        {"type": "unlikelihood", "form": "token", "context": "completion"}])"),
            "c.json:1: loss: at most one loss of a mixture may ask for candidate tokens");
}

TEST(LossOptions, EveryNameThatTrlHasIsKnown) {
  const auto registry = Registry::with_builtins();
  const auto found = [&](const std::string& name) { return registry.find(name, "test").name; };
  for (const char* name : {"hinge", "ipo", "robust", "bco_pair", "aot", "aot_unpaired", "apo_zero",
                           "apo_down", "discopop", "sft", "sigmoid_norm", "kto",
                           "apo_zero_unpaired", "cpo", "simpo", "alphapo", "orpo", "tpo", "bco"})
    EXPECT_EQ(found(name), name);
  EXPECT_EQ(found("sigmoid"), "dpo");
  EXPECT_EQ(found("exo_pair"), "exo");
  EXPECT_EQ(found("nca_pair"), "nca");
  EXPECT_EQ(found("sppo_hard"), "sppo");
  EXPECT_EQ(found("gkd"), "distillation");
  EXPECT_EQ(found("dpo_norm"), "sigmoid_norm");
  EXPECT_EQ(found("pl"), "plackett_luce");
}

TEST(LossOptions, EveryBuiltInExplainsItself) {
  const auto registry = Registry::with_builtins();
  EXPECT_EQ(registry.losses().size(), 31u);
  for (const auto& info : registry.losses()) {
    EXPECT_FALSE(info.title.empty()) << info.name;
    EXPECT_FALSE(info.paper.empty()) << info.name;
    EXPECT_FALSE(info.formula.empty()) << info.name;
    EXPECT_FALSE(info.notes.empty()) << info.name;
    EXPECT_FALSE(info.weights.empty()) << info.name;
  }
}

Example row_with(std::vector<Role> roles, int64_t rater = -1) {
  Example row;
  row.prompt = {1};
  row.completions.resize(roles.size(), {2});
  row.roles = std::move(roles);
  row.rater = rater;
  return row;
}

TEST(LossRows, TpoNeedsGoldAnswersUnlessTheyWeighNothing) {
  const std::vector<Example> rows{row_with({Role::chosen, Role::rejected, Role::gold}),
                                  row_with({Role::chosen, Role::rejected})};
  EXPECT_EQ(message_of<DataError>([&] { Tpo().check_rows(rows); }),
            "tpo learns from a gold answer in the column \"reference\" of each row, and 1 of 2 "
            "rows have none; cpo is the loss for plain pairs");
  EXPECT_NO_THROW(Tpo({.tpo_alpha = 0}).check_rows(rows));
  EXPECT_NO_THROW(Tpo().check_rows({rows[0]}));
}

TEST(LossRows, SftNeedsAChosenAnswer) {
  const auto ranked = row_with({Role::ranked, Role::ranked});
  EXPECT_EQ(message_of<DataError>([&] { Sft().check_rows({ranked}); }),
            "sft learns from chosen answers, and these rows have none: their answers are told "
            "apart by ranks or scores, or are all undesirable");
  EXPECT_NO_THROW(Sft().check_rows({ranked, row_with({Role::chosen})}));
}

TEST(LossRows, MixtureNeedsRaters) {
  const auto anonymous = row_with({Role::chosen, Role::rejected});
  EXPECT_EQ(message_of<DataError>([&] { Mixture().check_rows({anonymous}); }),
            "mixture: no row names its rater in the column \"rater\"; raters of opposite taste "
            "give even odds on every pair, from which they cannot be told apart");
  EXPECT_NO_THROW(Mixture().check_rows({anonymous, row_with({Role::chosen, Role::rejected}, 0)}));
}

GroupInputs one_pair() {
  return test::inputs_of(
      {test::pair_of(answer(Role::chosen, -2, -3), answer(Role::rejected, -4, -3))});
}

template <class E>
std::string refusal_of(const SequenceLoss& loss, const GroupInputs& x) {
  Metrics metrics;
  return message_of<E>([&] { loss(x, metrics); });
}

TEST(LossInputs, AnInfinitePsiNeedsPreferencesBetween) {
  const Psi logit([](const Tensor& p) { return (p / (1 - p)).log(); }, 0.1);
  auto x = one_pair();
  EXPECT_EQ(refusal_of<DataError>(logit, x),
            "psi: this Ψ is infinite at a preference of 0 or 1; rows must carry ratings that "
            "data.ratings turns into labels between");
  x.columns.preference = {0.75};
  const double gap = 2, target = std::log(3) / 0.1;  // of (Ψ(p) − Ψ(1−p)) / (2τ)
  EXPECT_NEAR(test::values_of(logit, x).item<double>(), (gap - target) * (gap - target), 1e-9);
}

TEST(LossInputs, PreferencesHaveNoMeaningWhereTheStepIsSorted) {
  auto x = one_pair();
  x.columns.preference = {0.75};
  EXPECT_EQ(refusal_of<DataError>(Aot(), x),
            "this loss compares the pairs of a step with each other and has no meaning for "
            "preferences between 0 and 1: leave out data.ratings and drop ties");
  x.columns.preference = {1};
  EXPECT_NO_THROW(test::values_of(Aot(), x));
}

template <class View>
class Returning : public View {
 public:
  explicit Returning(Tensor value) : value_(std::move(value)) {}
  Tensor values(const PairInputs&, Metrics&) const { return value_; }
  Tensor values(const UnpairedInputs&, Metrics&) const { return value_; }
  Tensor values(const RankedInputs&, Metrics&) const { return value_; }

 private:
  Tensor value_;
};

TEST(LossInputs, ALossOfOnesOwnReturnsOneValueEach) {
  const auto x = one_pair();
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<PairLoss>(f64({1, 2})), x),
            "[PairLoss] a loss must return one value a pair, of shape [1]; got f64 [2]");
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<PairLoss>({}), x),
            "[PairLoss] a loss must return one value a pair, of shape [1]; got none");
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<UnpairedLoss>(f64({1})), x),
            "[UnpairedLoss] a loss must return one value an answer, of shape [2]; got f64 [1]");
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<UnpairedLoss>({}), x),
            "[UnpairedLoss] a loss must return one value an answer, of shape [2]; got none");
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<RankedLoss>(f64({1, 2})), x),
            "[RankedLoss] a loss must return one value a group, of shape [1]; got f64 [2]");
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<RankedLoss>(f64({1})[0]), x),
            "[RankedLoss] a loss must return one value a group, of shape [1]; got f64 []");
  EXPECT_EQ(refusal_of<ArgumentError>(Returning<RankedLoss>({}), x),
            "[RankedLoss] a loss must return one value a group, of shape [1]; got none");
}

TEST(LossInputs, WhatALossNeedsMustBeThere) {
  auto x = one_pair();
  x.ref_logps.reset();
  EXPECT_EQ(refusal_of<ArgumentError>(Dpo(), x),
            "[PairInputs] log_ratio needs the reference's log-probs");
  EXPECT_EQ(refusal_of<ArgumentError>(Kto(), x),
            "[UnpairedInputs] log_ratio needs the reference's log-probs");
  EXPECT_EQ(refusal_of<ArgumentError>(Aot(), x), "[Aot] needs the reference's log-probs");
  EXPECT_EQ(refusal_of<ArgumentError>(Unlikelihood({.form = "token"}), x),
            "[Unlikelihood] needs log-probs of candidate tokens");
  EXPECT_EQ(refusal_of<ArgumentError>(*test::make_loss({{"type", "dpo"}, {"use_weighting", true}}),
                                      one_pair()),
            "[PairLoss] use_weighting needs log Σp² of every token");
}

TEST(LossInputs, RankedAnswersNeedScoresAndNoRoleElse) {
  const auto x = test::inputs_of({{answer(Role::ranked, -2, -3), answer(Role::ranked, -4, -3)}});
  EXPECT_EQ(refusal_of<DataError>(PlackettLuce(), x),
            "a ranked answer has no score; ranked rows need \"ranks\" or \"scores\"");
  EXPECT_EQ(refusal_of<ArgumentError>(Kto(), x),
            "[UnpairedLoss] answers must be chosen or rejected; got a ranked one");
  EXPECT_EQ(refusal_of<ArgumentError>(Dpo(), x),
            "[PairLoss] every group must hold one chosen and one rejected answer; got 0 chosen and "
            "0 rejected in 1 groups");
}

TEST(LossState, OfAnotherLossIsRefused) {
  Dpo dpo;
  EXPECT_NO_THROW(dpo.load_state(nullptr));
  EXPECT_EQ(message_of<DataError>([&] {
              dpo.load_state({{"delta", 1}});
            }),
            "the checkpoint holds the state of another loss: {\"delta\":1}");
  Bco bco;
  EXPECT_EQ(message_of<DataError>([&] {
              bco.load_state({{"delta", 1}});
            }),
            "the checkpoint holds no running mean of bco's rewards: {\"delta\":1}");
  const auto mix = test::make_loss({{"type", {"bco", "sft"}}});
  EXPECT_EQ(message_of<DataError>([&] { mix->load_state(Json::array({nullptr})); }),
            "the checkpoint holds the state of another loss: [null]");
}

TEST(LossReduction, NeedsATerm) {
  EXPECT_EQ(message_of<ArgumentError>([] { reduce({}, {}); }),
            "[reduce] a loss must return at least one term");
}

}  // namespace
}  // namespace luce
