#include "experiment/trail_language.h"

#include <algorithm>
#include <cmath>

namespace luce {

TrailLanguage::TrailLanguage(int64_t tokens, int64_t edges, uint64_t seed)
    : next_(static_cast<size_t>(tokens)) {
  const Random random(seed, Purpose::demo);
  for (int64_t from = 0; from < tokens; ++from) {
    for (const int64_t to : random.permutation(static_cast<uint64_t>(from), tokens))
      if (to != from && std::ssize(next_[static_cast<size_t>(from)]) < edges)
        next_[static_cast<size_t>(from)].push_back(to);
  }
  for (int64_t e = 0; e < edges; ++e) weight_.push_back(std::pow(0.7, e));
}

std::vector<double> TrailLanguage::chances(const std::vector<int64_t>& text, size_t length) const {
  const int64_t from = text[length - 1];
  const auto& next = next_[static_cast<size_t>(from)];
  std::vector<double> chance = weight_;
  for (size_t i = 1; i < length; ++i)
    if (text[i - 1] == from) {
      const auto used = std::find(next.begin(), next.end(), text[i]);
      if (used != next.end()) chance[static_cast<size_t>(used - next.begin())] = 0;
    }
  double total = 0;
  for (const double c : chance) total += c;
  if (total > 0)
    for (double& c : chance) c /= total;
  return chance;
}

std::vector<int64_t> TrailLanguage::sample(const Random& random, uint64_t index,
                                           int64_t length) const {
  // A walk that has used every edge of a place has no way on: it is drawn again.
  for (uint32_t attempt = 0;; ++attempt) {
    const auto position = [&](size_t i) { return attempt << 12 | static_cast<uint32_t>(i); };
    const auto tokens = static_cast<double>(next_.size());
    std::vector<int64_t> text{static_cast<int64_t>(tokens * random.uniform(0, index, position(0)))};
    while (std::ssize(text) < length) {
      double u = random.uniform(0, index, position(text.size()));
      const auto chance = chances(text, text.size());
      size_t edge = 0;
      while (edge < chance.size() && (chance[edge] == 0 || u >= chance[edge])) u -= chance[edge++];
      if (edge == chance.size()) break;
      text.push_back(next_[static_cast<size_t>(text.back())][edge]);
    }
    if (std::ssize(text) == length) return text;
  }
}

double TrailLanguage::log_probability(const std::vector<int64_t>& text, size_t begin) const {
  double sum = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto& next = next_[static_cast<size_t>(text[i - 1])];
    const auto edge = std::find(next.begin(), next.end(), text[i]);
    if (edge == next.end()) return -INFINITY;
    sum += std::log(chances(text, i)[static_cast<size_t>(edge - next.begin())]);
  }
  return sum;
}

TrailLanguage::Steps TrailLanguage::steps(const std::vector<int64_t>& text, size_t begin) const {
  Steps steps;
  for (size_t i = begin; i < text.size(); ++i) {
    const auto& next = next_[static_cast<size_t>(text[i - 1])];
    const auto edge = std::find(next.begin(), next.end(), text[i]);
    if (edge == next.end()) continue;
    steps.known += 1;
    if (chances(text, i)[static_cast<size_t>(edge - next.begin())] > 0) steps.fresh += 1;
  }
  const auto n = static_cast<double>(text.size() - begin);
  return {steps.known / n, steps.fresh / n};
}

}  // namespace luce
