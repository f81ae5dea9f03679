#include "experiment/synonym_language.h"

#include <algorithm>

namespace luce {
namespace {

constexpr int64_t kClasses = SynonymLanguage::kAnswerTokens / 2, kKinds = 4;
constexpr uint64_t kPairDraws = 1000000;  // beyond those of demonstrations

}  // namespace

SynonymLanguage::SynonymLanguage(uint64_t seed) : random_(seed, Purpose::demo), next_(kKinds) {
  for (uint64_t p = 0; p < kPrompts; ++p) first_.push_back(random_.permutation(p, kClasses));
  for (uint64_t kind = 0; kind < kKinds; ++kind)
    for (uint64_t from = 0; from < kClasses; ++from)
      next_[kind].push_back(random_.permutation(1000 + 10 * kind + from, kClasses));
}

SynonymLanguage::Answer SynonymLanguage::prompt(int64_t index) const {
  return {12 + index / 16, 16 + index / 4 % 4, 20 + index % 4};
}

SynonymLanguage::Answer SynonymLanguage::sample(int64_t prompt, uint64_t draw) const {
  const auto p = static_cast<size_t>(prompt);
  const auto sample = kPrompts * draw + static_cast<uint64_t>(prompt);
  Answer answer;
  for (uint32_t t = 0; t < kLength; ++t) {
    const auto& order =
        t == 0 ? first_[p] : next_[p / 16][static_cast<size_t>(class_of(answer.back()))];
    // The likeliest class with probability 0.8, the next with 0.14, each other with 0.015.
    const double u = random_.uniform(1, sample, 2 * t);
    const size_t rank = u < 0.8 ? 0 : u < 0.94 ? 1 : 2 + static_cast<size_t>((u - 0.94) / 0.015);
    const bool second = random_.uniform(1, sample, 2 * t + 1) >= 0.6;
    answer.push_back(2 * order[std::min<size_t>(rank, kClasses - 1)] + (second ? 1 : 0));
  }
  return answer;
}

std::vector<Example> SynonymLanguage::demonstrations(int64_t count) const {
  std::vector<Example> rows;
  for (int64_t i = 0; i < count; ++i)
    rows.push_back({.prompt = prompt(i % kPrompts),
                    .completions = {sample(i % kPrompts, static_cast<uint64_t>(i / kPrompts))},
                    .row = i + 1,
                    .roles = {Role::chosen}});
  return rows;
}

SynonymLanguage::Answer SynonymLanguage::unlike(int64_t prompt, const Answer& chosen) const {
  const auto differs = [](int64_t a, int64_t b) { return class_of(a) != class_of(b); };
  for (uint64_t attempt = 1;; ++attempt) {
    Answer other = chosen;
    switch (prompt % 4) {
      case 0:
        other[0] = synonym(other[0]);
        break;
      case 1:
        for (uint32_t t = 0; t < kLength; ++t)
          if (random_.uniform(2, static_cast<uint64_t>(prompt) + kPrompts * attempt, t) < 0.5)
            other[t] = synonym(other[t]);
        break;
      default:
        other = sample(prompt, kPairDraws + attempt);
        if (prompt % 4 == 3 && !(differs(other[0], chosen[0]) && differs(other[1], chosen[1])))
          continue;
    }
    if (other != chosen) return other;
  }
}

std::vector<Example> SynonymLanguage::pairs() const {
  std::vector<Example> rows;
  for (int64_t p = 0; p < kPrompts; ++p) {
    const Answer chosen = sample(p, kPairDraws);
    rows.push_back({.prompt = prompt(p), .completions = {chosen, unlike(p, chosen)}, .row = p + 1});
  }
  return rows;
}

}  // namespace luce
