#include "luce/oracle/sequences.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"
#include "luce/loss/kl.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/table.h"
#include "support/support.h"

namespace luce::oracle {
namespace {

using test::close;

Tensor f64(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

TEST(AllSequences, EndWithTheLastTokenOrAtTheLargestLength) {
  const Sequences s = all_sequences(2, 2, Ending::eos);
  EXPECT_EQ(s.answers, (std::vector<std::vector<int64_t>>{{1}, {0, 0}, {0, 1}}));
  EXPECT_EQ(s.prefixes, (std::vector<std::vector<int64_t>>{{}, {0}}));
  EXPECT_EQ(s.offset, (std::vector<int64_t>{0, 1, 3, 5}));
  EXPECT_TRUE(close(s.token, f64({1, 0, 0, 0, 1}), 0));
  EXPECT_TRUE(close(s.prefix, f64({0, 0, 1, 0, 1}), 0));
}

TEST(AllSequences, OfOneLengthAreAllItsWords) {
  const Sequences s = all_sequences(3, 3, Ending::length);
  EXPECT_EQ(s.answers.size(), 27u);
  EXPECT_EQ(s.prefixes.size(), 13u);
  EXPECT_EQ(s.answers[5], (std::vector<int64_t>{0, 1, 2}));
}

TEST(AllSequences, HaveProbabilitiesOfSumOneUnderEveryPolicy) {
  for (const Ending ending : {Ending::eos, Ending::length}) {
    const Sequences s = all_sequences(3, 4, ending);
    const auto n = static_cast<int64_t>(s.prefixes.size());
    EXPECT_NEAR(s.logps(normal({n, 3}, 1)).sum().exp().sum().item<double>(), 1, 1e-14);
  }
}

TEST(AllSequences, HaveLogProbsWithTheGradientsOfFiniteDifferences) {
  const Sequences s = all_sequences(3, 2, Ending::eos);
  const Tensor logits = normal({3, 3}, 2).requires_grad_(true), weight = normal({7}, 3);
  const auto f = [&](const Tensor& at) { return (s.logps(at).sum() * weight).sum(); };
  const auto value = [&](const Tensor& at) { return f(at).item<double>(); };
  ASSERT_EQ(s.answers.size(), 7u);
  EXPECT_LT(test::gradient_error(value, logits, gradient(f(logits), logits)), 1e-8);
}

TEST(AllSequences, GiveKlAndEntropyOfAnswersAsSumsOverTheirPrefixes) {
  const Sequences s = all_sequences(3, 3, Ending::eos);
  const auto n = static_cast<int64_t>(s.prefixes.size());
  const Tensor log_p = log_policy(normal({n, 3}, 4)), log_q = log_policy(normal({n, 3}, 5));
  const Tensor whole_p = s.logps(log_p).sum(), whole_q = s.logps(log_q).sum();
  EXPECT_TRUE(close(expectation(whole_p, s.at_prefixes(exact_kl(log_p, log_q)).sum()),
                    exact_kl(whole_p, whole_q), 1e-14));
  EXPECT_TRUE(
      close(expectation(whole_p, s.at_prefixes(entropy(log_p)).sum()), entropy(whole_p), 1e-14));
}

TEST(AllSequences, RefusesNoneAndTooMany) {
  const auto message = [](int64_t vocabulary, int64_t length) {
    return test::message_of<ArgumentError>(
        [&] { all_sequences(vocabulary, length, Ending::length); });
  };
  const std::string rule =
      "[all_sequences] vocabulary and max_length must be at least 1 and allow no more than "
      "1,000,000 answers; got ";
  EXPECT_EQ(message(0, 3), rule + "0 and 3");
  EXPECT_EQ(message(3, 0), rule + "3 and 0");
  EXPECT_EQ(message(10, 7), rule + "10 and 7");
}

TEST(DiscountedSums, AddLaterValuesOfTheSameAnswerAlone) {
  const TokenValues x{f64({1, 2, 4, 10, 20}), {0, 3, 5}};
  EXPECT_TRUE(close(discounted_sums(x, 0.5).values, f64({3, 4, 4, 20, 20}), 1e-15));
  EXPECT_TRUE(close(discounted_sums(x, 1).values, f64({7, 6, 4, 30, 20}), 1e-15));
  EXPECT_TRUE(close(discounted_sums(x, 0).values, x.values, 0));
}

TEST(NextValues, AreTheNextTokensAndZeroAtTheEnd) {
  const TokenValues x{f64({1, 2, 4, 10, 20}), {0, 3, 5}};
  EXPECT_TRUE(close(next_values(x).values, f64({2, 4, 0, 20, 0}), 0));
}

}  // namespace
}  // namespace luce::oracle
