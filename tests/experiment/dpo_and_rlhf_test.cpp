#include "experiment/dpo_and_rlhf.h"

#include <ATen/ATen.h>

#include <cmath>

#include "experiment/experiments.h"
#include "experiment/text.h"
#include "luce/oracle/choice.h"
#include "support/support.h"

namespace luce::dpo_rlhf {
namespace {

using test::close;
using namespace oracle;

constexpr uint64_t kSeed = 1;

const Findings& found() {
  static const Findings quick = luce::dpo_and_rlhf().run({.quick = true, .seed = kSeed});
  return quick;
}

Tensor f64(const Json& list) { return numbers(list.get<std::vector<double>>()); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(Cells, WriteNumbersForPeople) {
  EXPECT_EQ(fixed(-1.5, 2), "\u22121.50");
  EXPECT_EQ(fixed(-0.0004), "0.000");
  EXPECT_EQ(fixed(std::nan("")), "\u2013");
  EXPECT_EQ(shares(numbers({0.25, 0.75}).log(), 2), "0.25 0.75");
  EXPECT_EQ(residual(-3e-16), "< 1e\u221212");
  EXPECT_EQ(residual(2e-7), "< 1e\u22125");
  EXPECT_EQ(residual(0.25), "0.25");
  const Estimate mean = mean_of({1, 2, 6});
  EXPECT_EQ(mean.value, 3);
  EXPECT_NEAR(mean.error, std::sqrt(7.0 / 3), 1e-15);  // variance 14/2 = 7
  EXPECT_EQ(shown(mean, 1), "3.0 ± 1.5");
  EXPECT_EQ(numbers_of(numbers({1, 2}).to(at::kFloat)), (std::vector<double>{1, 2}));
}

TEST(DpoAndRlhf, DrawsAreSharesOfThePopulation) {
  const PairPopulation from{{0, 1, 2}, {1, 0, 0}, numbers({0.5, 0.4, 0.1})};
  const auto data = draw(from, 10000, 3);
  EXPECT_EQ(data.chosen, from.chosen);
  EXPECT_EQ(data.rejected, from.rejected);
  EXPECT_TRUE(close(data.probability, from.probability, 4 * 0.005));
  EXPECT_NEAR(data.probability.sum().item<double>(), 1, 1e-14);
  EXPECT_TRUE(at::equal(draw(from, 10000, 3).probability, data.probability));
  EXPECT_FALSE(at::equal(draw(from, 10000, 4).probability, data.probability));

  const auto both = joined(from, 300, one_pair(), 100);
  EXPECT_EQ(both.chosen, (std::vector<int64_t>{0, 1, 2, 0}));
  EXPECT_EQ(both.rejected, (std::vector<int64_t>{1, 0, 0, 1}));
  EXPECT_TRUE(close(both.probability, numbers({0.375, 0.3, 0.075, 0.25}), 1e-15));
}

TEST(DpoAndRlhf, FeaturesAreOrthogonalAndWeightsFallOff) {
  const Problem problem = random_problem(5, 2);
  const Tensor gram = problem.features.t().matmul(problem.features) / 16;
  EXPECT_TRUE(close(gram, at::eye(15, at::kDouble), 1e-12));
  EXPECT_TRUE(close(problem.features.sum(0), at::zeros({15}, at::kDouble), 1e-12));
  EXPECT_TRUE(close(problem.j.reward,
                    problem.features.matmul(at::constant_pad_nd(numbers({1, 0.5}), {0, 13})),
                    1e-12));
}

TEST(DpoAndRlhf, AFittedRewardExplainsWhatItsFeaturesSee) {
  const Problem problem = random_problem(6);
  const auto pairs = problem.pairs(problem.j.log_ref.exp());
  const double decay = 0.01;
  const Tensor phi = problem.first(3), r = fitted_reward(pairs, phi, decay);
  // Where the slope is 0: E[σ(r_l − r_w) (φ_w − φ_l)] = decay · θ, and θ = Φᵀr/16.
  Tensor slope = -decay * phi.t().matmul(r) / 16;
  for (size_t p = 0; p < pairs.chosen.size(); ++p) {
    const int64_t w = pairs.chosen[p], l = pairs.rejected[p];
    slope = slope + pairs.probability[static_cast<int64_t>(p)] * at::sigmoid(r[l] - r[w]) *
                        (phi[w] - phi[l]);
  }
  EXPECT_TRUE(close(slope, at::zeros({3}, at::kDouble), 1e-11));
  const Tensor dpo = fitted_dpo(pairs, phi, problem.j.log_ref, 0.5, decay);
  EXPECT_TRUE(close(dpo, KlObjective{problem.j.log_ref, r, 0.5}.log_optimum(), 1e-9));
}

TEST(DpoAndRlhf, HaveOneOptimumWhereverPairsConnectTheAnswers) {
  const auto& figures = found().figures["same_optimum"];
  for (const char* pairs : {"uniform", "reference", "chain"})
    for (const char* distance : {"dpo_to_optimum", "rlhf_to_optimum", "dpo_to_rlhf"})
      EXPECT_LT(figures[pairs][distance].get<double>(), 1e-8) << pairs;

  // In each group a reward is known up to a constant, which is what keeps its mean at 0.
  const KlObjective j{log_policy(normal({5}, 10 * kSeed)), normal({5}, 10 * kSeed + 1), 0.3};
  const Tensor a = j.reward.slice(0, 0, 3), b = j.reward.slice(0, 3);
  const Tensor left =
      KlObjective{j.log_ref, at::cat({a - a.mean(), b - b.mean()}), j.beta}.log_optimum();
  const double off = (left.exp() - j.log_optimum().exp()).abs().max().item<double>();
  EXPECT_GT(off, 0.01);
  EXPECT_NEAR(figures["islands"]["dpo_to_optimum"].get<double>(), off, 1e-4);
  EXPECT_NEAR(figures["islands"]["rlhf_to_optimum"].get<double>(), off, 1e-4);
  EXPECT_LT(figures["islands"]["dpo_to_rlhf"].get<double>(), 1e-4);
}

TEST(DpoAndRlhf, StayAtTheReferenceOnACycleWhereSelfPlayDoesNot) {
  const auto& cycle = found().figures["broken_bradley_terry"]["cycle"];
  const Tensor ref = numbers({0.6, 0.3, 0.1});
  for (const int tau : {0, 1}) {
    for (const char* method : {"rlhf_uniform", "dpo_uniform", "ipo_uniform"}) {
      EXPECT_TRUE(close(f64(cycle[method]["policy"][tau]), ref, 1e-9)) << method;
      EXPECT_NEAR(cycle[method]["least_win_rate"][tau].get<double>(), 0.35,
                  1e-9);  // against the third
    }
    EXPECT_TRUE(
        close(f64(cycle["self_play"]["policy"][tau]), at::full({3}, 1.0 / 3, at::kDouble), 0.01));
  }
  EXPECT_TRUE(close(f64(cycle["nash"]["policy"][0]), numbers({0.64159, 0.23436, 0.12405}), 5e-6));
  EXPECT_TRUE(close(f64(cycle["nash"]["policy"][1]), numbers({0.43207, 0.23033, 0.33761}), 5e-6));
}

TEST(DpoAndRlhf, GoWhereThePairsAreWithoutBradleyTerry) {
  const auto& figures = found().figures["broken_bradley_terry"];
  EXPECT_LT(figures["dpo_to_rlhf"].get<double>(), 1e-8);
  const Tensor ref = numbers({0.6, 0.3, 0.1});
  const Tensor win = numbers({0.5, 1, 0, 0, 0.5, 1, 1, 0, 0.5}).view({3, 3});
  for (const auto& [setting, tau] : {std::pair{0, 1.0}, {1, 0.1}}) {
    // IPO: log-ratios are E_{y'~π_ref} P(y ≻ y')/τ. DPO: each answer wins as often as its rewards
    // say.
    const Tensor ipo = at::softmax(ref.log() + win.matmul(ref) / tau, 0);
    EXPECT_TRUE(close(f64(figures["cycle"]["ipo_reference"]["policy"][setting]), ipo, 1e-9));
    const Tensor r = tau * (f64(figures["cycle"]["dpo_reference"]["policy"][setting]) / ref).log();
    const Tensor expected = at::sigmoid(r.unsqueeze(1) - r);
    EXPECT_TRUE(
        close((ref.outer(ref) * (win - expected)).sum(1), at::zeros({3}, at::kDouble), 1e-7));
  }
}

TEST(DpoAndRlhf, SeeOneRaterWhereThereAreTwo) {
  const auto& raters = found().figures["broken_bradley_terry"]["raters"];
  EXPECT_NEAR(raters["odds_quotient"].get<double>(), 2.022, 5e-4);
  for (const auto& [method, row] : raters.items()) {
    if (!row.contains("policy")) continue;
    EXPECT_TRUE(close(f64(row["policy"][1]), numbers({0.6, 0.3, 0.1}), 1e-9)) << method;
  }
  // The first answer is preferred to the second with 0.6 σ(2) + 0.4 σ(−3), and so on.
  const double p12 = 0.6 * sigmoid(2) + 0.4 * sigmoid(-3),
               p13 = 0.6 * sigmoid(3) + 0.4 * sigmoid(-2),
               p23 = 0.6 * sigmoid(1) + 0.4 * sigmoid(1);
  const Tensor mean = numbers({0.5 + p12 + p13, 0.5 + 1 - p12 + p23, 0.5 + 2 - p13 - p23}) / 3;
  const Tensor ipo = at::softmax(numbers({0.6, 0.3, 0.1}).log() + mean / 0.5, 0);
  EXPECT_TRUE(close(f64(raters["ipo_uniform"]["policy"][0]), ipo, 1e-9));
  const Tensor r = f64(raters["fitted_reward_uniform"]);
  EXPECT_NEAR((at::sigmoid(r[0] - r[1]) + at::sigmoid(r[0] - r[2])).item<double>(), p12 + p13,
              1e-9);
  EXPECT_TRUE(close(f64(raters["mean_reward"]), numbers({0.4, 0.4, -0.6}), 1e-15));
}

TEST(DpoAndRlhf, ASmallRewardCostsWhatASmallPolicyOfDpoDoes) {
  const auto& figures = found().figures["small_classes"];
  EXPECT_LT(figures["dpo_to_rlhf"].get<double>(), 1e-8);
  const Tensor reward = f64(figures["regret"]["RLHF, small reward"]),
               policy = f64(figures["regret"]["RLHF, small policy"]),
               table = f64(figures["regret"]["DPO, table"]);
  EXPECT_TRUE(at::lt(policy.slice(0, 0, 4), reward.slice(0, 0, 4)).all().item<bool>());
  EXPECT_GT(reward.slice(0, 0, 4).min().item<double>(), 1e-3);
  EXPECT_LT(reward[4].item<double>(), 1e-9);  // 15 features are a table
  EXPECT_LT(policy[4].item<double>(), 1e-9);
  EXPECT_LT(table.abs().max().item<double>(), 1e-9);
}

TEST(DpoAndRlhf, RegretFallsAsTheInformationInThePairsLetsExpect) {
  const auto& within = found().figures["pairs_needed"]["reward_of_2_features"];
  for (const char* d : {"2", "4", "8"}) {
    const auto& last = within["classes"][d].back();
    EXPECT_EQ(last["pairs"].get<int>(), 3000);
    EXPECT_NEAR(last["regret"].get<double>(),
                within["asymptotic_regret_times_n"][d].get<double>() / 3000,
                4 * last["standard_error"].get<double>())
        << d;
    EXPECT_LT(std::abs(within["regret_of_all_pairs"][d].get<double>()), 1e-9);
  }
  EXPECT_LT(within["pairs_for_a_tenth"]["2"].get<double>(),
            within["pairs_for_a_tenth"]["8"].get<double>());

  const auto& beyond = found().figures["pairs_needed"]["reward_of_15_features"];
  const auto& small = beyond["classes"]["2"].back();
  const double floor = beyond["regret_of_all_pairs"]["2"].get<double>();
  EXPECT_GT(floor, 0.1);
  EXPECT_NEAR(small["regret"].get<double>(), floor, 4 * small["standard_error"].get<double>());
  EXPECT_LT(beyond["classes"]["15"].back()["regret"].get<double>(), floor);
  EXPECT_GT(beyond["classes"]["15"].front()["regret"].get<double>(),
            beyond["classes"]["2"].front()["regret"].get<double>());
}

TEST(DpoAndRlhf, TheStartDecidesOnlyWhatNoPairDoes) {
  const auto& figures = found().figures["starting_points"];
  const auto& table = figures["table"];
  EXPECT_LT(f64(table["regrets_from_random"]).abs().max().item<double>(), 1e-9);
  EXPECT_LT(table["policies_differ_by"].get<double>(), 1e-6);
  EXPECT_GT(figures["table_early"]["policies_differ_by"].get<double>(), 0.1);
  for (const char* policy : {"table", "table_unseen", "rank_2", "network"})
    EXPECT_LT(figures[policy]["largest_gradient"].get<double>(), 1e-8) << policy;
  const Tensor losses = f64(figures["rank_2"]["losses"]);
  EXPECT_LT((losses.max() - losses.min()).item<double>(), 1e-9);

  // Three answers are compared: their logits learn the reward and keep their mean, two stay.
  const Tensor x = normal({18}, 100 * kSeed), r = normal({4, 5}, 100 * kSeed + 1);
  const Tensor logits = x.slice(0, 0, 8).view({4, 2}).matmul(x.slice(0, 8).view({5, 2}).t());
  const Tensor seen = r.slice(1, 0, 3);
  const Tensor gain = at::cat({seen - seen.mean(1, true), at::zeros({4, 2}, at::kDouble)}, 1) / 0.5;
  const KlObjective j{log_policy(logits), r, 0.5};
  const Tensor regret = j.value(j.log_optimum()) - j.value(log_policy(logits + gain));
  EXPECT_NEAR(figures["table_unseen"]["regret_from_reference"].get<double>(),
              regret.mean().item<double>(), 1e-5);
}

/// The mean score of the better-labelled answer of two draws from μ that differ.
double mean_chosen(const Tensor& mu, const Tensor& r) {
  double sum = 0, total = 0;
  for (int64_t i = 0; i < 16; ++i)
    for (int64_t k = 0; k < 16; ++k) {
      if (i == k) continue;
      const double often = (mu[i] * mu[k]).item<double>(), a = r[i].item<double>(),
                   b = r[k].item<double>();
      sum += often * (sigmoid(a - b) * a + sigmoid(b - a) * b);
      total += often;
    }
  return sum / total;
}

TEST(DpoAndRlhf, GoodChosenAnswersDoNotMakeAGoodPolicy) {
  const auto& figures = found().figures["sources_of_pairs"];
  const Problem problem = random_problem(1000 * kSeed + 500);
  const Tensor ref = problem.j.log_ref.exp(), r = problem.j.reward;
  const Tensor expert = ref * (4 * r).exp() / (ref * (4 * r).exp()).sum();  // π_ref e^{2r/β}
  for (const auto& [source, mu] : {std::pair{"reference", ref}, {"expert", expert}}) {
    const auto& chosen = figures[source]["chosen"];
    EXPECT_NEAR(chosen["mean"].get<double>(), mean_chosen(mu, r),
                4 * chosen["standard_error"].get<double>());
  }
  const auto mean = [&](const char* source, const char* what) {
    return figures[source][what]["mean"].get<double>();
  };
  EXPECT_GT(mean("expert", "chosen"), mean("policy", "chosen"));
  EXPECT_GT(mean("policy", "chosen"), mean("reference", "chosen"));
  EXPECT_LT(mean("policy", "regret"), mean("reference", "regret"));
  EXPECT_LT(mean("reference", "regret"), mean("expert", "regret"));
  // Not rated: e_i π_k against e_k π_i are the odds of the reward log(e/π_ref) = 4r, so that DPO
  // ends at π_ref e^{8r}.
  const Tensor end = log_policy(problem.j.log_ref + 8 * r);
  EXPECT_NEAR(figures["by_origin_limit"].get<double>(), problem.regret(end), 1e-12);
  EXPECT_NEAR(figures["of_optimum"]["regret"].get<double>(), 0, 1e-12);
}

TEST(DpoAndRlhf, IsDeterministicAndComplete) {
  const auto again = same_optimum({.quick = true, .seed = kSeed});
  EXPECT_EQ(again.figures, found().figures["same_optimum"]);
  EXPECT_EQ(found().tables.size(), 8u);
  EXPECT_EQ(found().charts.size(), 3u);
  for (const Table& table : found().tables)
    for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.columns.size()) << table.title;
}

}  // namespace
}  // namespace luce::dpo_rlhf
