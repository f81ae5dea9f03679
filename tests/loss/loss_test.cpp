#include "luce/loss/loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/mix.h"
#include "luce/loss/registry.h"
#include "luce/loss/sft.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

/// One token a completion, so that log-probs of completions can be given directly.
GroupInputs pairs(const Tensor& chosen, const Tensor& rejected, const Tensor& ref_chosen,
                  const Tensor& ref_rejected) {
  GroupInputs x;
  x.logps.values = at::stack({chosen, rejected}, 1).reshape({-1});
  const auto n = chosen.numel();
  for (int64_t c = 0; c <= 2 * n; ++c) x.logps.offset.push_back(c);
  x.ref_logps = TokenValues{at::stack({ref_chosen, ref_rejected}, 1).reshape({-1}), x.logps.offset};
  for (int64_t q = 0; q <= n; ++q) x.group.push_back(2 * q);
  for (int64_t c = 0; c < 2 * n; ++c) x.role.push_back(c % 2 == 0 ? Role::chosen : Role::rejected);
  return x;
}

std::vector<double> numbers(const Json& list) { return list.get<std::vector<double>>(); }

TEST(TokenValues, SumsAndMeansEachCompletionAndGivesAnEmptyOneZero) {
  const TokenValues v{at::tensor({1.0f, 2.0f, 4.0f}), {0, 2, 2, 3}};
  EXPECT_TRUE(close(v.sum(), f64({3, 0, 4}), 0));
  EXPECT_TRUE(close(v.mean(), f64({1.5, 0, 4}), 0));
  EXPECT_TRUE(close(v.length(), f64({2, 0, 1}), 0));
  EXPECT_EQ(v.sum().scalar_type(), at::kDouble);
}

TEST(Dpo, EqualsTheClosedFormInValueAndGradient) {
  const Json golden = test::golden_json("dpo_loss.json");
  for (const auto& c : golden["cases"]) {
    Tensor w = f64(numbers(golden["chosen_logps"])).requires_grad_(true);
    Tensor l = f64(numbers(golden["rejected_logps"])).requires_grad_(true);
    const auto x = pairs(w, l, f64(numbers(golden["ref_chosen_logps"])),
                         f64(numbers(golden["ref_rejected_logps"])));
    const Dpo dpo(
        {.beta = c["beta"].get<double>(), .label_smoothing = c["label_smoothing"].get<double>()});
    Metrics metrics;
    const auto terms = dpo(x, metrics);
    ASSERT_EQ(terms.size(), 1u);
    EXPECT_EQ(terms[0].per, Per::item);
    EXPECT_TRUE(close(terms[0].value, f64(numbers(c["losses"])), 1e-12, 1e-8));
    const auto g = torch::autograd::grad({terms[0].value.sum()}, {w, l});
    EXPECT_TRUE(close(g[0], f64(numbers(c["grad_chosen"])), 1e-12, 1e-8));
    EXPECT_TRUE(close(g[1], -g[0], 1e-15));
  }
}

TEST(Dpo, IsLogTwoWherePolicyAndReferenceAreEqualAndFiniteAtExtremes) {
  Metrics metrics;
  const Tensor a = f64({-3, -50}), b = f64({-7, -1});
  EXPECT_TRUE(
      close(Dpo({.beta = 0.7})(pairs(a, b, a, b), metrics)[0].value, f64({M_LN2, M_LN2}), 1e-15));
  Tensor w = f64({-1e4, 0, -1e4}).requires_grad_(true);
  const auto value =
      Dpo()(pairs(w, f64({0, -1e4, 0}), f64({0, 0, -2e4}), f64({0, 0, 0})), metrics)[0].value;
  EXPECT_TRUE(close(value, f64({1000, 0, 0}), 1e-9));
  EXPECT_TRUE(at::isfinite(torch::autograd::grad({value.sum()}, {w})[0]).all().item<bool>());
}

TEST(PairLoss, RefusesGroupsThatAreNoPairs) {
  auto x = pairs(f64({-1, -2}), f64({-1, -2}), f64({-1, -2}), f64({-1, -2}));
  x.role[1] = Role::chosen;
  Metrics metrics;
  EXPECT_EQ(test::message_of<ArgumentError>([&] { Dpo()(x, metrics); }),
            "[PairLoss] every group must hold one chosen and one rejected answer; got 3 chosen and "
            "1 rejected "
            "in 2 groups");
}

TEST(Sft, IsTheNegativeLogLikelihoodOfChosenTokensOverTheirNumber) {
  GroupInputs x;
  x.logps = {f64({-1, -2, -4, -8}), {0, 2, 3, 4}};
  x.role = {Role::chosen, Role::rejected, Role::chosen};
  x.group = {0, 2, 3};
  Metrics metrics;
  const Totals totals{.items = 2, .chosen_tokens = 3, .tokens = 4, .sequences = 3};
  EXPECT_DOUBLE_EQ(reduce(Sft()(x, metrics), totals).item<double>(), (3.0 + 8.0) / 3);
}

TEST(LossMix, AddsWeightedTermsEachOverItsOwnTotal) {
  const Document config(
      R"({"loss": {"type": ["sigmoid", "sft"], "weights": [1, 0.2], "beta": 0.3}})", "c.json");
  const auto mix = Registry::with_builtins().make_loss(config);
  EXPECT_TRUE(mix->needs().reference);
  EXPECT_DOUBLE_EQ(mix->reward_scale(), 0.3);
  const auto x = pairs(f64({-3, -5}), f64({-4, -4}), f64({-2, -6}), f64({-3, -5}));
  Metrics metrics;
  const Totals totals{.items = 2, .chosen_tokens = 2, .tokens = 4, .sequences = 4};
  const double dpo = reduce(Dpo({.beta = 0.3})(x, metrics), totals).item<double>();
  EXPECT_DOUBLE_EQ(reduce((*mix)(x, metrics), totals).item<double>(), dpo + 0.2 * (3.0 + 5.0) / 2);
}

TEST(Registry, MakesTheSameMixtureFromAListOfLosses) {
  const auto registry = Registry::with_builtins();
  const Document config(
      R"({"loss": [{"type": "dpo", "beta": 0.3}, {"type": "sft", "weight": 0.2}]})", "c.json");
  EXPECT_EQ(
      registry.resolve_loss(config).dump(),
      R"([{"type":"dpo","weight":1.0,"beta":0.3,"label_smoothing":0.0,)"
      R"("f_divergence_type":"reverse_kl","f_alpha_divergence_coef":0.5,"ld_alpha":null,)"
      R"("use_weighting":false,"reference_free":false,"rpo_alpha":0.0},{"type":"sft","weight":0.2}])");
  EXPECT_DOUBLE_EQ(registry.make_loss(config)->reward_scale(), 0.3);
}

TEST(Registry, NamesTheLineAndTheNearestNameOfWhatItDoesNotKnow) {
  const auto registry = Registry::with_builtins();
  const auto message = [&](const std::string& loss) {
    const Document config("{\n \"loss\": " + loss + "}", "c.json");
    return test::message_of<UsageError>([&] { registry.make_loss(config); });
  };
  EXPECT_EQ(message(R"({"type": "dpoo"})"),
            "c.json:2: unknown loss \"dpoo\"; did you mean \"dpo\"?");
  EXPECT_EQ(message(R"({"type": "dpo", "bata": 1})"),
            "c.json:2: unknown key \"bata\" in loss \"dpo\"; did you mean \"beta\"?");
  EXPECT_EQ(message(R"({"type": "dpo", "beta": 0})"), "c.json:2: loss.beta must be above 0; got 0");
  EXPECT_EQ(message(R"([3])"),
            "c.json:2: a loss is an object with a \"type\", for example {\"type\": \"dpo\"}");
  EXPECT_EQ(message(R"({"type": ["dpo", "sft"], "weights": [1]})"),
            "c.json:2: loss.weights must hold 2 numbers, one for each of loss.type");
  EXPECT_EQ(message(R"({"type": ["dpo", "sft"], "gamma": 1})"),
            "c.json:2: unknown key \"gamma\" in loss: none of its types has such an option");
}

TEST(Registry, RefusesANameTwice) {
  auto registry = Registry::with_builtins();
  EXPECT_EQ(test::message_of<ArgumentError>([&] { registry.add<Dpo>(); }),
            "[Registry] the name of the loss \"dpo\" is taken by \"dpo\"");
}

/// Every registered loss: its defaults load, and what it resolves to parses to the same.
TEST(Registry, RoundTripsTheDefaultsOfEveryLoss) {
  const auto registry = Registry::with_builtins();
  for (const auto& info : registry.losses()) {
    const auto config = Document::of({{"loss", {{"type", info.name}}}}, "defaults");
    const Json once = registry.resolve_loss(config);
    EXPECT_EQ(registry.resolve_loss(Document::of({{"loss", once}}, "resolved")), once) << info.name;
    EXPECT_NO_THROW(registry.make_loss(Document::of({{"loss", once}}, "resolved"))) << info.name;
    EXPECT_FALSE(info.formula.empty() || info.paper.empty() || info.title.empty()) << info.name;
  }
}

}  // namespace
}  // namespace luce
