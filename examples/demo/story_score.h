// What the demo's readers secretly like: a positivity score of any text, and labels drawn from it.
#pragma once

#include <cstdint>
#include <string_view>

#include "luce/base/random.h"

namespace luce::demo {

/// The largest score and, negated, the smallest.
inline constexpr double kLargestScore = 7.0;

/// Positivity of any text: the sum of the weights of the feeling words in it, each counted once
/// however often it stands there, kept within ±kLargestScore. Letter case is ignored. Over stories
/// of the grammar it has mean 0 and a standard deviation of about 2.5.
double hidden_score(std::string_view text);

/// One label under the Bradley–Terry model: true with probability σ(score_a − score_b). A pure
/// function of its arguments; labels of different `index` are independent.
bool prefers_first(const Random& random, uint64_t index, double score_a, double score_b);

}  // namespace luce::demo
