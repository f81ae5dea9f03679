#include "experiment/gold_world.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "luce/loss/bradley_terry.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/sequences.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

using oracle::expectation, oracle::normal;

constexpr int64_t kVocabulary = 6, kLength = 4;

}  // namespace

Tensor GoldWorld::standard(const Tensor& v) const {
  const Tensor centred = v - expectation(log_ref, v);
  return centred / expectation(log_ref, centred.square()).sqrt();
}

GoldWorld::GoldWorld(const GoldSetting& setting, uint64_t seed) {
  const auto all = oracle::all_sequences(kVocabulary, kLength, oracle::Ending::length);
  const auto answers = static_cast<int64_t>(all.answers.size());
  const auto prefixes = static_cast<int64_t>(all.prefixes.size());
  const Tensor token = all.token.view({answers, kLength});
  one_hot = at::one_hot(token, kVocabulary).to(at::kDouble).view({answers, -1});
  log_ref = all.logps(setting.spread * normal({prefixes, kVocabulary}, seed)).sum();
  // Each token at its place and each two neighbours count something; and, by the share `sense`,
  // what the reference would not write is worth little.
  Tensor taste = one_hot.matmul(normal({kLength * kVocabulary}, seed + 1));
  const Tensor next = normal({kLength - 1, kVocabulary, kVocabulary}, seed + 2);
  for (int64_t t = 0; t + 1 < kLength; ++t)
    taste = taste + next[t].index({token.select(1, t), token.select(1, t + 1)});
  gold = standard(standard(taste) + setting.sense * standard(log_ref));
  label(setting.pairs, Random(seed + 3, Purpose::sample));
}

void GoldWorld::label(int64_t pairs, const Random& random) {
  const Tensor cumulative = log_ref.exp().cumsum(0);
  const double* begin = cumulative.const_data_ptr<double>();
  const double* g = gold.const_data_ptr<double>();
  const auto draw = [&](uint64_t pair, uint32_t which) {
    const double u = random.uniform(0, pair, which);
    return std::min<int64_t>(std::lower_bound(begin, begin + cumulative.numel(), u) - begin,
                             cumulative.numel() - 1);
  };
  std::vector<int64_t> better, worse;
  for (uint64_t pair = 0; std::ssize(better) < pairs; ++pair) {
    const int64_t a = draw(pair, 0), b = draw(pair, 1);
    if (a == b) continue;
    const bool first = random.uniform(0, pair, 2) < 1 / (1 + std::exp(g[b] - g[a]));
    better.push_back(first ? a : b);
    worse.push_back(first ? b : a);
  }
  chosen = at::tensor(better, at::kLong);
  rejected = at::tensor(worse, at::kLong);
}

Tensor fitted_member(const GoldWorld& world, const GoldSetting& setting, uint64_t seed) {
  const auto n = world.chosen.numel();
  const auto width = static_cast<double>(setting.features);
  const Tensor inner =
      normal({world.one_hot.size(1), setting.features}, seed) / std::sqrt(double{kLength});
  const Tensor x = at::tanh(world.one_hot.matmul(inner)) / std::sqrt(width);
  const Tensor x_pairs = x.index_select(0, at::stack({world.chosen, world.rejected}, 1).view({-1}));
  ScoreInputs pairs;
  for (int64_t i = 0; i <= 2 * n; ++i) pairs.offset.push_back(i);
  for (int64_t i = 0; i <= n; ++i) pairs.group.push_back(2 * i);
  for (int64_t i = 0; i < n; ++i)
    pairs.role.insert(pairs.role.end(), {Role::chosen, Role::rejected});
  Totals totals;
  totals.items = static_cast<double>(n);
  const BradleyTerry bradley_terry;
  const auto loss = [&](const Tensor& w) {
    Metrics metrics;
    pairs.scores = x_pairs.matmul(w).unsqueeze(1);
    return reduce(bradley_terry(pairs, metrics), totals) + setting.ridge * w.square().sum();
  };
  const Tensor w =
      oracle::minimise(loss, at::zeros({setting.features}, at::kDouble), {.gradient_norm = 1e-9}).x;
  const Tensor r = x.matmul(w);
  return r - expectation(world.log_ref, r);
}

}  // namespace luce
