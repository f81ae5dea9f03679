// The demo's language: short stories of a child, a wish and a friend, from a grammar with exact
// probabilities.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "luce/base/random.h"

namespace luce::demo {

struct Story {
  std::string prompt;          // the first sentence
  std::string continuation;    // the rest; begins with a space
  double log_probability = 0;  // of the whole, in nats

  std::string text() const { return prompt + continuation; }
};

/// Story `index`: a pure function of (random, index). Use Purpose::demo.
Story sample_story(const Random& random, uint64_t index);

/// Log-probability of a whole story in nats, −infinity for a text that is none.
double log_probability(std::string_view text);

/// The entropy of a story in nats, exact: the mean loss, summed over a story's tokens, that no
/// model can beat.
double entropy();

/// The grammar, in the notation of `Grammar`.
std::string_view grammar_text();

}  // namespace luce::demo
