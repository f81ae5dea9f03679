#include "luce/oracle/sequences.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>

#include "luce/base/error.h"
#include "luce/oracle/table.h"

namespace luce::oracle {

TokenValues Sequences::at_tokens(const Tensor& table) const {
  return {table.index({prefix, token}), offset};
}

TokenValues Sequences::at_prefixes(const Tensor& table) const {
  return {table.index_select(0, prefix), offset};
}

TokenValues Sequences::logps(const Tensor& logits) const { return at_tokens(log_policy(logits)); }

Sequences all_sequences(int64_t vocabulary, int64_t max_length, Ending ending) {
  const double bound = std::pow(vocabulary, max_length);
  if (vocabulary < 1 || max_length < 1 || bound > 1e6)
    throw ArgumentError(
        cat("[all_sequences] vocabulary and max_length must be at least 1 and allow no more than "
            "1,000,000 answers; got ",
            vocabulary, " and ", max_length));
  Sequences s;
  s.prefixes.push_back({});
  for (size_t n = 0; n < s.prefixes.size(); ++n)
    for (int64_t token = 0; token < vocabulary; ++token) {
      auto path = s.prefixes[n];
      path.push_back(token);
      const bool ends = static_cast<int64_t>(path.size()) == max_length ||
                        (ending == Ending::eos && token == vocabulary - 1);
      (ends ? s.answers : s.prefixes).push_back(path);
    }
  std::map<std::vector<int64_t>, int64_t> index;
  for (const auto& prefix : s.prefixes) index.emplace(prefix, static_cast<int64_t>(index.size()));

  std::vector<int64_t> tokens, prefixes;
  s.offset.push_back(0);
  for (const auto& answer : s.answers) {
    for (auto t = answer.begin(); t != answer.end(); ++t) {
      tokens.push_back(*t);
      prefixes.push_back(index.at({answer.begin(), t}));
    }
    s.offset.push_back(static_cast<int64_t>(tokens.size()));
  }
  s.token = at::tensor(tokens, at::kLong);
  s.prefix = at::tensor(prefixes, at::kLong);
  return s;
}

TokenValues discounted_sums(const TokenValues& x, double c) {
  const auto m = x.offset.back();
  Tensor weight = at::zeros({m, m}, at::kDouble);  // [t, t'] = c^(t'−t) within an answer
  auto w = weight.accessor<double, 2>();
  for (size_t s = 0; s + 1 < x.offset.size(); ++s)
    for (int64_t t = x.offset[s]; t < x.offset[s + 1]; ++t)
      for (int64_t later = t; later < x.offset[s + 1]; ++later)
        w[t][later] = std::pow(c, later - t);
  return {weight.matmul(x.values), x.offset};
}

TokenValues next_values(const TokenValues& x) {
  Tensor next = at::zeros_like(x.values);
  for (size_t s = 0; s + 1 < x.offset.size(); ++s) {
    const auto begin = x.offset[s], end = x.offset[s + 1];
    next.slice(0, begin, end - 1).copy_(x.values.slice(0, begin + 1, end));
  }
  return {next, x.offset};
}

}  // namespace luce::oracle
