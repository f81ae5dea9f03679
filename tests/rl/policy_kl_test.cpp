// Estimates of KL against the enumeration of all answers.
#include "luce/rl/policy_kl.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

TEST(PolicyKl, ExpectationsAreTheKlOfWholeAnswers) {
  const auto policy = test::small_model(at::kDouble, true, 1);
  const auto reference = test::small_model(at::kDouble, true, 2);
  constexpr int64_t kVocabulary = 29;
  std::vector<Example> rows(1);  // all answers of two tokens to one prompt
  rows[0].prompt = {1, 7, 12};
  for (int64_t a = 0; a < kVocabulary; ++a)
    for (int64_t b = 0; b < kVocabulary; ++b) rows[0].completions.push_back({a, b});
  rows[0].roles.assign(rows[0].completions.size(), Role::ranked);
  const auto estimates = policy_kl(*policy, *reference, test::pointers(rows));
  ASSERT_EQ(estimates.size(), rows[0].completions.size());

  // log π and log π_ref of every answer by softmaxes of all logits.
  const auto logps = [&](const CausalLM& model) {
    std::vector<double> out;
    for (const auto& answer : rows[0].completions) {
      std::vector<int64_t> ids = rows[0].prompt;
      ids.insert(ids.end(), answer.begin(), answer.end());
      const auto n = static_cast<int64_t>(ids.size());
      const Tensor hidden = model.trunk(model.embed(at::tensor(ids)), at::arange(n),
                                        std::vector<TreeSegment>{{.begin = 0, .length = n}});
      const Tensor all = hidden.matmul(model.head_weight().t()).log_softmax(1);
      out.push_back(all[2][answer[0]].item<double>() + all[3][answer[1]].item<double>());
    }
    return out;
  };
  const auto p = logps(*policy), q = logps(*reference);
  double kl = 0, exact = 0, k1 = 0, k3 = 0, mass = 0;
  for (size_t y = 0; y < p.size(); ++y) {
    const double weight = std::exp(p[y]);
    mass += weight;
    kl += weight * (p[y] - q[y]);
    exact += weight * estimates[y].exact;
    k1 += weight * estimates[y].k1;
    k3 += weight * estimates[y].k3;
    EXPECT_NEAR(estimates[y].k1, p[y] - q[y], 1e-10);
    EXPECT_GE(estimates[y].k3, 0);
    EXPECT_GE(estimates[y].k2, estimates[y].k1 * estimates[y].k1 / 4 - 1e-12) << "of two tokens";
  }
  EXPECT_NEAR(mass, 1, 1e-10);
  EXPECT_GT(kl, 1e-4);
  EXPECT_NEAR(exact, kl, 1e-9);
  EXPECT_NEAR(k1, kl, 1e-9);
  EXPECT_NEAR(k3, kl, 1e-9);
}

TEST(PolicyKl, IsNothingBetweenEqualModels) {
  const auto model = test::small_model(at::kDouble);
  const auto rows = test::random_pairs(3);
  for (const auto& e : policy_kl(*model, *model, test::pointers(rows), 20))
    EXPECT_EQ(std::abs(e.exact) + std::abs(e.k1) + std::abs(e.k2) + std::abs(e.k3), 0);
}

TEST(PolicyKl, RefusesOtherVocabularies) {
  const auto small = test::small_model(at::kFloat);
  const auto tiny = CausalLM::load(test::golden("tiny"));
  EXPECT_EQ(test::message_of<DataError>([&] { policy_kl(*small, *tiny, {}); }),
            "the policy's vocabulary has 29 entries, the reference's 352");
}

}  // namespace
}  // namespace luce
