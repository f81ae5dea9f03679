// A language that never goes the same way twice, for experiments about repetition.
//
// Tokens are the nodes of a graph with a few weighted edges out of each. A text is a walk that
// draws among the edges it has not used yet, by their weight. No two neighbours of a text therefore
// stand beside each other in it again, while a model that knows only which edges there are walks in
// circles when it always takes the likeliest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "luce/base/random.h"

namespace luce {

class TrailLanguage {
 public:
  TrailLanguage(int64_t tokens, int64_t edges, uint64_t seed);

  /// Text `index` of that length: a pure function of (random, index).
  std::vector<int64_t> sample(const Random& random, uint64_t index, int64_t length) const;
  /// log-probability of all tokens of a text from place `begin` on, given those before; −infinity
  /// where an edge is unknown or was used before.
  double log_probability(const std::vector<int64_t>& text, size_t begin) const;
  /// Of the steps from place `begin` on: the share along an edge of the language, and along one
  /// that the text has not used before.
  struct Steps {
    double known = 0, fresh = 0;
  };
  Steps steps(const std::vector<int64_t>& text, size_t begin) const;

 private:
  /// The chances of the edges out of the last token, given the whole text; all 0 where every edge
  /// is used.
  std::vector<double> chances(const std::vector<int64_t>& text, size_t length) const;

  std::vector<std::vector<int64_t>> next_;  // [tokens][edges]
  std::vector<double> weight_;              // [edges]
};

}  // namespace luce
