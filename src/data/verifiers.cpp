#include "luce/data/verifiers.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "luce/base/error.h"
#include "luce/data/final_answer.h"
#include "luce/data/number.h"

namespace luce {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// The number of distinct n-grams: windows sorted by their content, runs counted.
size_t distinct_windows(std::span<const int64_t> tokens, size_t n) {
  std::vector<std::span<const int64_t>> windows;
  for (size_t i = 0; i + n <= tokens.size(); ++i) windows.push_back(tokens.subspan(i, n));
  const auto less = [](const auto& a, const auto& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  };
  std::sort(windows.begin(), windows.end(), less);
  size_t distinct = windows.empty() ? 0 : 1;
  for (size_t i = 1; i < windows.size(); ++i) distinct += less(windows[i - 1], windows[i]);
  return distinct;
}

}  // namespace

std::optional<double> exact_match(std::string_view answer, std::string_view reference,
                                  bool fold_case) {
  const auto a = trimmed(answer), r = trimmed(reference);
  const auto same = [&](char x, char y) { return fold_case ? lower(x) == lower(y) : x == y; };
  return std::equal(a.begin(), a.end(), r.begin(), r.end(), same) ? 1 : 0;
}

std::optional<double> numeric_match(std::string_view answer, std::string_view reference,
                                    double tolerance) {
  const auto r = parse_number(reference);
  if (!r) return {};
  const auto a = parse_number(answer);
  if (!a) return 0;
  if (*a == *r) return 1;
  const double gap = std::abs(a->value() - r->value());
  return tolerance > 0 && gap <= tolerance * std::max(1.0, std::abs(r->value())) ? 1 : 0;
}

void describe(Schema& s, AnswerOptions& o) {
  s.field("compare", o.compare,
          "as numbers; as text; or as numbers where the reference is one, else as text")
      .one_of({"number_or_text", "number", "text"});
  s.field("last_number", o.last_number,
          "where an answer has neither `####` nor \\boxed{}, take the last number in it");
  s.field("fold_case", o.fold_case, "compare letters of ASCII without their case");
  s.field("tolerance", o.tolerance,
          "largest distance of equal numbers as a share of max(1, |reference|); 0 compares exactly")
      .at_least(0)
      .below(1);
}

std::optional<double> answer_reward(std::string_view text, std::string_view reference,
                                    const AnswerOptions& options) {
  const std::string r = final_answer(reference).value_or(std::string(trimmed(reference)));
  const bool is_number = options.compare != "text" && parse_number(r).has_value();
  if (r.empty() || (options.compare == "number" && !is_number)) return {};
  const auto a = final_answer(text, options.last_number);
  if (!a) return 0;
  return is_number ? numeric_match(*a, r, options.tolerance)
                   : exact_match(*a, r, options.fold_case);
}

void describe(Schema& s, FormatOptions& o) {
  s.field(
       "pattern", o.pattern,
       "a regular expression of ECMAScript without lookahead and backreferences; [\\s\\S] is any "
       "byte")
      .required();
  s.field("match", o.match, "whether the whole answer must match or a part of it")
      .one_of({"whole", "part"});
}

Format::Format(const FormatOptions& options)
    : pattern_(options.pattern), whole_(options.match == "whole") {}

std::optional<double> Format::reward(std::string_view text) const {
  return (whole_ ? pattern_.matches(text) : pattern_.is_found_in(text)) ? 1 : 0;
}

void describe(Schema& s, LengthOptions& o) {
  s.field("target", o.target, "length of an answer in tokens that costs nothing")
      .at_least(0)
      .required();
  s.field("slope", o.slope, "reward lost with each token off the target").above(0);
}

std::optional<double> length_reward(int64_t length, const LengthOptions& options) {
  return -options.slope * std::abs(static_cast<double>(options.target - length));
}

void describe(Schema& s, OverlongOptions& o) {
  s.field("max_length", o.max_length, "length L_max in tokens from which the punishment is -1")
      .at_least(1)
      .required();
  s.field("cache", o.cache, "tokens L_cache before max_length over which it grows from 0")
      .at_least(0)
      .required();
}

void check_overlong(const OverlongOptions& options) {
  if (options.cache > options.max_length)
    throw UsageError(cat("the soft overlong punishment has cache ", options.cache,
                         ", which must not exceed max_length ", options.max_length));
}

// Soft overlong punishment, DAPO, arXiv:2503.14476 eq. 13
//   R(y) = 0                                    |y| ≤ L_max − L_cache
//          ((L_max − L_cache) − |y|) / L_cache  up to L_max
//          −1                                   beyond
std::optional<double> overlong_reward(int64_t length, const OverlongOptions& options) {
  check_overlong(options);
  const int64_t start = options.max_length - options.cache;
  if (length <= start) return 0;
  if (length > options.max_length) return -1;
  return static_cast<double>(start - length) / static_cast<double>(options.cache);
}

void describe(Schema& s, CosineOptions& o) {
  s.field("max_length", o.max_length, "length T in tokens at which the cosine ends")
      .at_least(1)
      .required();
  s.field("correct_short", o.correct_short, "reward of a correct answer of length 0");
  s.field("correct_long", o.correct_long, "reward of a correct answer near max_length");
  s.field("wrong_short", o.wrong_short, "reward of a wrong answer of length 0");
  s.field("wrong_long", o.wrong_long, "reward of a wrong answer near max_length");
  s.field("exceeded", o.exceeded, "reward of any answer from max_length on");
}

// Cosine reward, arXiv:2502.03373
//   R(t) = r_L + ½ (r_0 − r_L) (1 + cos(π t / T))
std::optional<double> cosine_reward(bool is_correct, int64_t length, const CosineOptions& options) {
  if (length >= options.max_length) return options.exceeded;
  const double r_0 = is_correct ? options.correct_short : options.wrong_short;
  const double r_l = is_correct ? options.correct_long : options.wrong_long;
  const double t = static_cast<double>(length) / static_cast<double>(options.max_length);
  return r_l + 0.5 * (r_0 - r_l) * (1 + std::cos(std::numbers::pi * t));
}

void describe(Schema& s, RepetitionOptions& o) {
  s.field("n", o.n, "length of the n-grams").at_least(1).at_most(64);
  s.field("weight", o.weight, "what an answer of nothing but repetition would lose").at_least(0);
}

std::optional<double> repetition_reward(std::span<const int64_t> tokens,
                                        const RepetitionOptions& options) {
  if (options.n < 1)
    throw ArgumentError(cat("repetition_reward: n is ", options.n, ", but must be at least 1"));
  const auto n = static_cast<size_t>(options.n);
  if (tokens.size() < n) return 0;
  const size_t total = tokens.size() - n + 1, distinct = distinct_windows(tokens, n);
  return -options.weight * static_cast<double>(total - distinct) / static_cast<double>(total);
}

std::optional<double> repetition_reward(std::string_view text, const RepetitionOptions& options) {
  constexpr std::string_view space = " \t\r\n\v\f";
  std::map<std::string_view, int64_t> ids;
  std::vector<int64_t> words;
  for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
    const auto word = text.substr(0, text.find_first_of(space));
    words.push_back(ids.emplace(word, static_cast<int64_t>(ids.size())).first->second);
    text.remove_prefix(word.size());
  }
  return repetition_reward(words, options);
}

void describe(Schema& s, JsonFormatOptions& o) {
  s.field("required", o.required, "keys that the object must have; none accepts any JSON value");
}

std::optional<double> json_reward(std::string_view text, const JsonFormatOptions& options) {
  try {
    const Json value = parse_json(text, "answer");
    const auto has = [&](const std::string& key) {
      return value.is_object() && value.contains(key);
    };
    return std::all_of(options.required.begin(), options.required.end(), has) ? 1 : 0;
  } catch (const DataError&) {
    return 0;
  }
}

}  // namespace luce
