#include "luce/data/preference_statistics.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "answer_marks.h"
#include "luce/data/hash.h"

namespace luce {
namespace {

using Ids = std::vector<int64_t>;

/// The two answers of a row that it tells apart, the better one first.
struct Pair {
  const Ids *chosen, *rejected;
  bool tied, from_scores;
};

std::optional<Pair> pair_of(const Example& row) {
  const auto& answers = row.completions;
  if (answers.size() < 2) return {};
  if (row.role(0) == Role::chosen && row.role(1) == Role::rejected) {
    const bool swapped = row.preference < 0.5;
    return Pair{&answers[swapped], &answers[!swapped], row.preference == 0.5, false};
  }
  if (row.scores.size() != answers.size()) return {};
  const auto [worst, best] = std::minmax_element(row.scores.begin(), row.scores.end());
  if (*worst == *best) return Pair{&answers[0], &answers[1], true, true};
  return Pair{&answers[static_cast<size_t>(best - row.scores.begin())],
              &answers[static_cast<size_t>(worst - row.scores.begin())], false, true};
}

std::string_view bytes_of(const Ids& ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int64_t)};
}
std::string_view bytes_of(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

Digest key_of(const Ids& prompt) { return Hasher().bytes(bytes_of(prompt)).digest(); }

/// What identifies a pair in either order, and whether the chosen answer comes first in it. Answers
/// go with their prompt, wherever the border between the two may stand.
std::pair<Digest, bool> key_of(const Ids& prompt, const Pair& pair) {
  const auto whole = [&](const Ids& answer) {
    return Hasher().bytes(bytes_of(prompt)).bytes(bytes_of(answer)).digest();
  };
  Digest first = whole(*pair.chosen), second = whole(*pair.rejected);
  const bool in_order = first <= second;
  if (!in_order) std::swap(first, second);
  return {Hasher().bytes(bytes_of(first)).bytes(bytes_of(second)).digest(), in_order};
}

/// How often the pairs of a file were judged, by pair and by prompt.
struct Repetitions {
  struct Votes {
    int64_t in_order = 0, reversed = 0;
  };
  std::map<Digest, int64_t> pairs_of_prompt;
  std::map<Digest, std::map<Digest, Votes>> votes;  // by prompt and pair; ties count as none

  void add(const Example& row, const Pair& pair) {
    const Digest prompt = key_of(row.prompt);
    const auto [key, in_order] = key_of(row.prompt, pair);
    ++pairs_of_prompt[prompt];
    Votes& of_pair = votes[prompt][key];
    if (pair.tied || *pair.chosen == *pair.rejected) return;
    ++(in_order ? of_pair.in_order : of_pair.reversed);
  }

  void tell(PreferenceStatistics& statistics) const {
    auto& s = statistics;
    for (const auto& [prompt, pairs] : pairs_of_prompt) {
      s.most_pairs = std::max(s.most_pairs, pairs);
      ++s.prompts_by_pairs[pairs <= 2 ? static_cast<size_t>(pairs - 1) : pairs <= 5 ? 2 : 3];
    }
    s.prompts = static_cast<int64_t>(pairs_of_prompt.size());
    double unlike = 0, couples = 0;  // of two judgements of one pair
    for (const auto& [prompt, pairs] : votes) {
      int64_t judged = 0, contradicted = 0;
      for (const auto& [key, of_pair] : pairs) {
        const auto a = static_cast<double>(of_pair.in_order);
        const auto b = static_cast<double>(of_pair.reversed);
        judged += a + b > 0;
        s.repeated += a + b > 1;
        contradicted += a > 0 && b > 0;
        unlike += a * b;
        couples += (a + b) * (a + b - 1) / 2;
      }
      s.distinct += static_cast<int64_t>(pairs.size());
      s.contradicted += contradicted;
      s.contradicted_prompts += contradicted > 0;
      s.decided_prompts += judged > 0 && contradicted == 0;
    }
    s.disagreement = couples > 0 ? unlike / couples : 0;
  }
};

void count_eval(const std::vector<Example>& eval, const Repetitions& train,
                PreferenceStatistics& statistics) {
  std::set<Digest> known;
  for (const auto& [prompt, pairs] : train.votes)
    for (const auto& [key, of_pair] : pairs) known.insert(key);
  for (const auto& row : eval) {
    const auto pair = pair_of(row);
    if (!pair) continue;
    ++statistics.eval_pairs;
    statistics.eval_known_prompts += train.pairs_of_prompt.count(key_of(row.prompt)) > 0;
    statistics.eval_known_pairs += known.count(key_of(row.prompt, *pair).first) > 0;
  }
}

}  // namespace

PreferenceStatistics preference_statistics(const std::vector<Example>& train,
                                           const std::vector<Example>* eval,
                                           const Tokenizer* tokenizer) {
  PreferenceStatistics s;
  Repetitions repetitions;
  AnswerMarks marks(tokenizer);
  std::vector<double> chosen, rejected;  // lengths
  std::set<int64_t> raters;
  int64_t longer = 0;
  for (const auto& row : train) {
    const auto pair = pair_of(row);
    if (!pair) continue;
    ++s.pairs;
    s.from_scores = s.from_scores || pair->from_scores;
    repetitions.add(row, *pair);
    if (row.rater >= 0) raters.insert(row.rater);
    const bool equal = *pair->chosen == *pair->rejected;
    s.equal += equal;
    s.tied += pair->tied && !equal;
    if (equal || pair->tied) continue;
    ++s.judged;
    s.soft += row.preference > 0 && row.preference < 1;
    chosen.push_back(static_cast<double>(pair->chosen->size()));
    rejected.push_back(static_cast<double>(pair->rejected->size()));
    longer += chosen.back() > rejected.back();
    s.equal_length += chosen.back() == rejected.back();
    marks.add(*pair->chosen, *pair->rejected);
  }
  s.raters = static_cast<int64_t>(raters.size());
  s.chosen_length = mean_of(chosen);
  s.rejected_length = mean_of(rejected);
  s.longer_chosen = share_of(longer, s.judged - s.equal_length);
  repetitions.tell(s);
  marks.tell(s);
  s.has_eval = eval != nullptr;
  if (eval != nullptr) count_eval(*eval, repetitions, s);
  return s;
}

}  // namespace luce
