// A language with synonyms, for experiments about pairs of answers that mean the same.
//
// A prompt is three tokens, an answer three of another twelve, which form six classes of two. Where
// an answer begins depends on the prompt, and each further class on the class before it; within a
// class one token is drawn with probability 0.6, its synonym otherwise.
#pragma once

#include <cstdint>
#include <vector>

#include "luce/base/random.h"
#include "luce/data/dataset.h"

namespace luce {

class SynonymLanguage {
 public:
  using Answer = std::vector<int64_t>;
  static constexpr int64_t kPrompts = 64, kAnswerTokens = 12, kVocabulary = 24, kLength = 3;
  static int64_t class_of(int64_t token) { return token / 2; }
  static int64_t synonym(int64_t token) { return token ^ 1; }

  explicit SynonymLanguage(uint64_t seed);

  Answer prompt(int64_t index) const;
  /// Answer `draw` to the prompt: a pure function of (seed, prompt, draw).
  Answer sample(int64_t prompt, uint64_t draw) const;
  /// Prompts with one answer each, in turn.
  std::vector<Example> demonstrations(int64_t count) const;
  /// One pair for each prompt. The rejected answer is in turn: the chosen one with another first
  /// word of the same class; with any words replaced by synonyms; another answer; another answer
  /// whose first two classes both differ.
  std::vector<Example> pairs() const;

 private:
  Answer unlike(int64_t prompt, const Answer& chosen) const;

  Random random_;
  std::vector<std::vector<int64_t>> first_;              // [prompts] classes, likeliest first
  std::vector<std::vector<std::vector<int64_t>>> next_;  // [4 kinds of prompt][class] the same
};

}  // namespace luce
