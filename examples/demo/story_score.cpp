#include "story_score.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <string>

namespace luce::demo {
namespace {

// Half a point for most feeling words, a whole one for strong ones.
const std::map<std::string, double, std::less<>>& weights() {
  // clang-format off
  static const std::map<std::string, double, std::less<>> the_weights = {
      // the weather
      {"sunny", 0.5}, {"mild", 0.5}, {"golden", 1}, {"lovely", 1},
      {"rainy", -0.5}, {"icy", -0.5}, {"stormy", -1}, {"gloomy", -1},
      // the friend
      {"kind", 0.5}, {"friendly", 0.5}, {"gentle", 1}, {"cheerful", 1},
      {"rude", -0.5}, {"grumpy", -0.5}, {"selfish", -1}, {"mean", -1},
      // what happens
      {"found", 0.5}, {"shared", 0.5},
      {"fell", -0.5}, {"broke", -0.5}, {"sank", -0.5},
      {"blew", -0.5}, {"burned", -1}, {"stolen", -1},
      {"hid", -0.5}, {"pushed", -0.5}, {"teased", -0.5},
      {"blamed", -0.5}, {"shouted", -0.5}, {"lied", -1},
      // moods
      {"happy", 0.5}, {"glad", 0.5}, {"proud", 0.5}, {"thankful", 1},
      {"sad", -0.5}, {"angry", -0.5}, {"lonely", -0.5}, {"hopeless", -1},
      {"smiled", 0.5}, {"sang", 0.5}, {"danced", 0.5}, {"cheered", 0.5},
      {"cried", -0.5}, {"sighed", -0.5}, {"frowned", -0.5}, {"shivered", -0.5},
      // the day
      {"good", 0.5}, {"great", 0.5}, {"wonderful", 1}, {"perfect", 1},
      {"bad", -0.5}, {"hard", -0.5}, {"terrible", -1}, {"horrible", -1},
  };
  // clang-format on
  return the_weights;
}

}  // namespace

double hidden_score(std::string_view text) {
  std::set<std::string> seen;
  std::string word;
  double sum = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const auto letter = i < text.size() ? static_cast<unsigned char>(text[i]) : ' ';
    if (std::isalpha(letter)) {
      word += static_cast<char>(std::tolower(letter));
      continue;
    }
    const auto weight = weights().find(word);
    if (weight != weights().end() && seen.insert(word).second) sum += weight->second;
    word.clear();
  }
  return std::clamp(sum, -kLargestScore, kLargestScore);
}

bool prefers_first(const Random& random, uint64_t index, double score_a, double score_b) {
  return random.uniform(1, index, 0) < 1 / (1 + std::exp(score_b - score_a));
}

}  // namespace luce::demo
