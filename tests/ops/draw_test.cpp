#include "luce/ops/draw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "luce/base/error.h"
#include "luce/base/random.h"
#include "support/support.h"

namespace luce {
namespace {

using test::message_of;

constexpr double kNone = -std::numeric_limits<double>::infinity();

/// What a token is drawn from, in loops over a sorted row in f64.
std::vector<double> probabilities(std::vector<double> z, const std::vector<int64_t>& seen,
                                  const DrawOptions& o) {
  std::vector<bool> marked(z.size());
  for (const int64_t id : seen) marked[static_cast<size_t>(id)] = true;
  for (size_t v = 0; v < z.size(); ++v) {
    if (marked[v]) z[v] = z[v] > 0 ? z[v] / o.repetition_penalty : z[v] * o.repetition_penalty;
    z[v] /= o.temperature;
  }
  std::vector<size_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return z[a] > z[b]; });
  if (o.top_k > 0 && o.top_k < static_cast<int64_t>(z.size()))
    order.resize(static_cast<size_t>(o.top_k));
  std::vector<double> p(z.size());
  double total = 0, mass = 0;
  for (const size_t v : order) total += p[v] = std::exp(z[v] - z[order[0]]);
  double kept = 0;
  for (const size_t v : order) {
    const bool stays = mass < o.top_p * total && p[v] >= o.min_p;
    mass += p[v];
    if (!stays) p[v] = 0;
    kept += p[v];
  }
  for (double& x : p) x /= kept;
  return p;
}

std::vector<double> row_of(const Tensor& t) {
  const Tensor d = t.to(at::kDouble).contiguous();
  return {d.const_data_ptr<double>(), d.const_data_ptr<double>() + d.numel()};
}

const std::vector<DrawOptions>& cases() {
  static const std::vector<DrawOptions> all{
      {},
      {.temperature = 0.7},
      {.temperature = 1.9},
      {.top_k = 1},
      {.top_k = 4},
      {.top_p = 0.6},
      {.top_p = 0.01},
      {.min_p = 0.2},
      {.repetition_penalty = 1.8},
      {.repetition_penalty = 0.5},
      {.temperature = 1.3, .top_k = 7, .top_p = 0.8, .min_p = 0.1, .repetition_penalty = 1.2},
  };
  return all;
}

HeadSide side(int64_t m, int64_t d, int64_t v, at::ScalarType type, double scale = 1) {
  return {at::randn({m, d}, at::kDouble).to(type),
          at::randn({v, d}, at::kDouble).mul(scale).to(type),
          {}};
}

DrawRows numbers(int64_t m, const std::vector<int64_t>& seen, uint64_t step = 0) {
  const Random random(5, Purpose::test);
  DrawRows rows;
  for (int64_t i = 0; i < m; ++i)
    rows.uniform.push_back(random.uniform(step, static_cast<uint64_t>(i), 0));
  rows.seen.assign(static_cast<size_t>(m), &seen);
  return rows;
}

Drawn drawn(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
            const DrawOptions& o) {
  DrawWorkspace workspace;
  return draw(first, second, rows, o, workspace);
}

/// 100,000 tokens of equal rows are as frequent as `p` says (Pearson's χ² within 4 standard errors
/// of its mean), and none is drawn that has no probability.
void expect_frequencies(const HeadSide& one, const HeadSide* second, const DrawOptions& o,
                        const std::vector<int64_t>& seen, const std::vector<double>& p) {
  constexpr int64_t kRows = 5000, kTimes = 20;
  const auto many = [](const HeadSide& s) {
    return HeadSide{s.hidden.expand({kRows, -1}).contiguous(), s.weight, s.logits};
  };
  const HeadSide first = many(one), other = second == nullptr ? one : many(*second);
  std::vector<double> counts(p.size());
  for (uint64_t step = 0; step < kTimes; ++step)
    for (const int64_t id :
         drawn(first, second == nullptr ? nullptr : &other, numbers(kRows, seen, step), o).ids)
      ++counts[static_cast<size_t>(id)];
  double chi2 = 0, freedom = -1;
  for (size_t v = 0; v < p.size(); ++v) {
    const double expected = p[v] * kRows * kTimes;
    if (p[v] == 0) {
      EXPECT_EQ(counts[v], 0) << v;
      continue;
    }
    chi2 += (counts[v] - expected) * (counts[v] - expected) / expected;
    ++freedom;
  }
  EXPECT_LE(chi2, freedom + 4 * std::sqrt(2 * freedom)) << "of " << freedom;
}

TEST(Draw, DrawsEveryTokenAsOftenAsItsProbabilitySays) {
  at::manual_seed(1);
  const std::vector<int64_t> seen{2, 5, 5, 8};
  for (const auto type : {at::kFloat, at::kDouble}) {
    const HeadSide one = side(1, 4, 11, type);
    const auto z = row_of(at::mm(one.hidden.to(at::kDouble), one.weight.to(at::kDouble).t()));
    for (size_t i = 0; i < cases().size(); ++i) {
      SCOPED_TRACE(cat(i));
      expect_frequencies(one, nullptr, cases()[i], seen, probabilities(z, seen, cases()[i]));
    }
  }
}

TEST(Draw, MixesTheLogitsOfTwoModels) {
  at::manual_seed(2);
  for (const auto type : {at::kFloat, at::kDouble}) {
    const HeadSide one = side(1, 4, 11, type), two = side(1, 6, 11, type);
    const auto logits = [](const HeadSide& s) {
      return at::mm(s.hidden.to(at::kDouble), s.weight.to(at::kDouble).t());
    };
    for (const DrawOptions& o : {DrawOptions{.second_weight = 0.3},
                                 {.temperature = 0.6, .top_k = 5, .second_weight = 1}}) {
      const auto z = row_of((1 - o.second_weight) * logits(one) + o.second_weight * logits(two));
      const auto p = probabilities(z, {}, o);
      expect_frequencies(one, &two, o, {}, p);
      const auto got = drawn(one, &two, {{0.4}, {}}, o);
      const double want = std::log(p[static_cast<size_t>(got.ids[0])]);
      EXPECT_NEAR(got.drawn[0], want, type == at::kFloat ? 1e-5 : 1e-12);
      const Tensor own = at::log_softmax(logits(one), 1);
      EXPECT_NEAR(got.logps[0], own[0][got.ids[0]].item<double>(), 1e-5);
    }
  }
}

TEST(Draw, TakesTheFirstTokenWhoseSumPassesTheNumber) {
  at::manual_seed(3);
  for (const int64_t v : {29, 300, 1500, 3000})
    for (const auto& o : cases()) {
      const std::vector<int64_t> seen{1, 3, 20};
      const HeadSide one = side(40, 16, v, at::kFloat, 0.4);
      const DrawRows rows = numbers(40, seen);
      const auto got = drawn(one, nullptr, rows, o);
      const Tensor z = at::mm(one.hidden.to(at::kDouble), one.weight.to(at::kDouble).t());
      for (size_t i = 0; i < 40; ++i) {
        const auto p = probabilities(row_of(z[static_cast<int64_t>(i)]), seen, o);
        const auto id = static_cast<size_t>(got.ids[i]);
        const double before = std::accumulate(p.begin(), p.begin() + got.ids[i], 0.0);
        EXPECT_LE(before, rows.uniform[i] + 1e-5);
        EXPECT_GE(before + p[id], rows.uniform[i] - 1e-5);
        EXPECT_NEAR(got.drawn[i], std::log(p[id]), 2e-5) << v;
      }
    }
}

TEST(Draw, TakesTheEndsOfTheVocabularyAtTheEndsOfTheNumbers) {
  at::manual_seed(4);
  for (const auto type : {at::kFloat, at::kDouble})
    for (const double penalty : {1.0, 1.5}) {
      const HeadSide one = side(2, 8, 700, type, 0.1);
      const std::vector<int64_t> seen{3};
      const auto got =
          drawn(one, nullptr, {{0, 1 - 0x1p-53}, {&seen, &seen}}, {.repetition_penalty = penalty});
      EXPECT_EQ(got.ids, (std::vector<int64_t>{0, 699}));
    }
}

TEST(Draw, TakesTheLikeliestAtTemperature0) {
  at::manual_seed(5);
  for (const auto type : {at::kFloat, at::kDouble}) {
    const HeadSide one = side(20, 8, 700, type);
    const Tensor z = at::mm(one.hidden.to(at::kDouble), one.weight.to(at::kDouble).t());
    const auto got = drawn(one, nullptr, numbers(20, {}), {.temperature = 0});
    EXPECT_TRUE(at::equal(at::tensor(got.ids, at::kLong), z.argmax(1)));
    EXPECT_EQ(got.tempered, got.logps);
    EXPECT_EQ(got.drawn, std::vector<double>(20, 0.0));
    // A heavy penalty of all likeliest tokens makes another one the likeliest.
    const auto again =
        drawn(one, nullptr, numbers(20, got.ids), {.temperature = 0, .repetition_penalty = 100});
    const Tensor rest = z.index_fill(1, at::tensor(got.ids, at::kLong), kNone);
    EXPECT_TRUE(at::equal(at::tensor(again.ids, at::kLong), rest.argmax(1)));
  }
}

TEST(Draw, GivesTheBitsOfHead) {
  at::manual_seed(6);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble})
    for (const auto& [m, v] : {std::pair<int64_t, int64_t>{1, 29}, {17, 300}, {130, 1030}})
      for (const LogitOptions& map : {LogitOptions{}, {.logit_scale = 0.3}, {.softcap = 5}})
        for (const double temperature : {1.0, 0.7}) {
          HeadSide one = side(m, 16, v, type);
          one.logits = map;
          const auto got = drawn(one, nullptr, numbers(m, {}), {.temperature = temperature});
          const auto want = [&](double t) {
            LogitOptions at_t = map;
            at_t.temperature = t;
            return row_of(
                head(one.hidden, one.weight, at::tensor(got.ids, at::kLong), {.logits = at_t})
                    .logps);
          };
          EXPECT_EQ(got.logps, want(1));
          EXPECT_EQ(got.tempered, want(temperature));
          EXPECT_EQ(got.drawn, got.tempered);
        }
}

TEST(Draw, DoesNotDependOnTheRowsBesideARowNorOnThreads) {
  at::manual_seed(7);
  const std::vector<int64_t> seen{4, 9};
  const int before = at::get_num_threads();
  for (const auto& o : cases()) {
    const HeadSide one = side(150, 16, 1030, at::kFloat);
    const DrawRows rows = numbers(150, seen);
    at::set_num_threads(2);
    const auto all = drawn(one, nullptr, rows, o);
    at::set_num_threads(1);
    for (const auto& [first, n] : {std::pair<int64_t, int64_t>{0, 150}, {31, 1}, {100, 33}}) {
      const auto some = drawn({one.hidden.narrow(0, first, n), one.weight, {}}, nullptr,
                              {{rows.uniform.begin() + first, rows.uniform.begin() + first + n},
                               {rows.seen.begin(), rows.seen.begin() + n}},
                              o);
      for (size_t i = 0; i < some.ids.size(); ++i) {
        const size_t j = i + static_cast<size_t>(first);
        EXPECT_EQ(some.ids[i], all.ids[j]);
        EXPECT_EQ(some.logps[i], all.logps[j]);
        EXPECT_EQ(some.tempered[i], all.tempered[j]);
        EXPECT_EQ(some.drawn[i], all.drawn[j]);
      }
    }
  }
  at::set_num_threads(before);
}

TEST(Draw, KeepsWhatIsNotANumberInItsRow) {
  at::manual_seed(8);
  HeadSide one = side(3, 8, 300, at::kFloat);
  const std::vector<int64_t> seen{4};
  for (const auto& o : cases()) {
    const auto want = drawn(one, nullptr, numbers(3, seen), o);
    HeadSide broken{one.hidden.clone(), one.weight, {}};
    broken.hidden[1].fill_(std::numeric_limits<double>::quiet_NaN());
    const auto got = drawn(broken, nullptr, numbers(3, seen), o);
    EXPECT_TRUE(std::isnan(got.logps[1]));
    EXPECT_GE(got.ids[1], 0);
    EXPECT_LT(got.ids[1], 300);
    EXPECT_EQ(got.ids[0], want.ids[0]);
    EXPECT_EQ(got.ids[2], want.ids[2]);
  }
}

TEST(Draw, SaysWhatDoesNotFit) {
  const HeadSide one{at::zeros({2, 3}), at::zeros({5, 3}), {}};
  const auto message = [&](const HeadSide& first, const HeadSide* second, const DrawRows& rows,
                           const DrawOptions& o) {
    return message_of<ArgumentError>([&] { drawn(first, second, rows, o); });
  };
  const DrawRows rows{{0, 0}, {}};
  EXPECT_EQ(message({at::zeros({2, 4}), one.weight, {}}, nullptr, rows, {}),
            "[draw] expected hidden [M, D] and weight [V, D] of one dtype; got f32 [2, 4], f32 [5, "
            "3]");
  EXPECT_EQ(message({one.hidden, one.weight, {.temperature = 2}}, nullptr, rows, {}),
            "[draw] a side's own temperature must be 1, for DrawOptions has one; got 2");
  const HeadSide other{at::zeros({2, 3}), at::zeros({6, 3}), {}};
  EXPECT_EQ(message(one, &other, rows, {.second_weight = 1}),
            "[draw] the second side needs the rows and the vocabulary of the first; got f32 [2, "
            "3], f32 [6, 3] beside f32 [2, 3], f32 [5, 3]");
  EXPECT_EQ(message(one, nullptr, {{0}, {}}, {}),
            "[draw] expected a number, and with a penalty the tokens seen, for each of 2 rows; got "
            "1 and 0");
  EXPECT_EQ(message(one, nullptr, rows, {.repetition_penalty = 2}),
            "[draw] expected a number, and with a penalty the tokens seen, for each of 2 rows; got "
            "2 and 0");
  EXPECT_EQ(message(one, nullptr, rows, {.min_p = 1}),
            "[draw] expected temperature >= 0, top_k >= 0, 0 < top_p <= 1, 0 <= min_p < 1, "
            "repetition_penalty > 0 and, with a second side, a weight in (0, 1]; got 1, 0, 1, 1, 1 "
            "and 0");
  EXPECT_EQ(message(one, nullptr, rows, {.second_weight = 0.5}),
            "[draw] expected temperature >= 0, top_k >= 0, 0 < top_p <= 1, 0 <= min_p < 1, "
            "repetition_penalty > 0 and, with a second side, a weight in (0, 1]; got 1, 0, 1, 0, 1 "
            "and 0.5");
}

}  // namespace
}  // namespace luce
