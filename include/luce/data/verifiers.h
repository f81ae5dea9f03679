// Verifiers: rewards of an answer that follow from its text by a rule. Each is a pure function. No
// value means that the rule cannot judge this answer, which is not a reward of 0.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "luce/base/pattern.h"
#include "luce/base/schema.h"

namespace luce {

/// 1 where `answer` is `reference`, white space around both left out; else 0. With `fold_case`
/// letters of ASCII are compared without their case.
std::optional<double> exact_match(std::string_view answer, std::string_view reference,
                                  bool fold_case = false);

/// 1 where both are one number (parse_number): equal exactly, or |a − r| ≤ tolerance · max(1, |r|);
/// 0 where they differ or `answer` is no number. No value where `reference` is none.
std::optional<double> numeric_match(std::string_view answer, std::string_view reference,
                                    double tolerance = 0);

struct AnswerOptions {
  std::string compare = "number_or_text";
  bool last_number = false;
  bool fold_case = true;
  double tolerance = 0;
};
void describe(Schema& s, AnswerOptions& o);

/// 1 where the final answer of `text` is that of `reference` (or the whole reference, where it
/// marks none), else 0; 0 where `text` has none. No value where the reference is empty, or no
/// number under `compare: "number"`.
std::optional<double> answer_reward(std::string_view text, std::string_view reference,
                                    const AnswerOptions& options = {});

struct FormatOptions {
  std::string pattern;
  std::string match = "whole";
};
void describe(Schema& s, FormatOptions& o);

/// Whether a text has the form that a pattern asks for.
class Format {
 public:
  /// Throws UsageError where the pattern is refused (Pattern).
  explicit Format(const FormatOptions& options);
  /// 1 or 0.
  std::optional<double> reward(std::string_view text) const;

 private:
  Pattern pattern_;
  bool whole_;
};

struct LengthOptions {
  int64_t target = 0;
  double slope = 0.0003;
};
void describe(Schema& s, LengthOptions& o);

/// −slope · |target − length|, of lengths in tokens: the length term of arXiv:2503.04697 eq. 1.
std::optional<double> length_reward(int64_t length, const LengthOptions& options);

struct OverlongOptions {
  int64_t max_length = 0;
  int64_t cache = 0;
};
/// Both keys are required; check_overlong checks them together.
void describe(Schema& s, OverlongOptions& o);
/// Throws UsageError where the cache is larger than the length that it is a part of.
void check_overlong(const OverlongOptions& options);

/// The soft overlong punishment of DAPO: 0 up to max_length − cache tokens, then a line down to −1
/// at max_length, −1 beyond. Throws what check_overlong throws.
std::optional<double> overlong_reward(int64_t length, const OverlongOptions& options);

struct CosineOptions {
  int64_t max_length = 0;
  double correct_short = 2, correct_long = 1, wrong_short = -10, wrong_long = 0, exceeded = -10;
};
void describe(Schema& s, CosineOptions& o);

/// The cosine length reward: from the value of a short answer to that of a long one along half a
/// cosine, apart for correct and wrong ones; `exceeded` from max_length on.
std::optional<double> cosine_reward(bool is_correct, int64_t length, const CosineOptions& options);

struct RepetitionOptions {
  int64_t n = 3;
  double weight = 1;
};
void describe(Schema& s, RepetitionOptions& o);

/// −weight · the share of n-grams of `tokens` that stood there before; 0 where there are fewer than
/// n tokens.
std::optional<double> repetition_reward(std::span<const int64_t> tokens,
                                        const RepetitionOptions& options = {});
/// The same over the words of `text`, which ASCII white space parts.
std::optional<double> repetition_reward(std::string_view text,
                                        const RepetitionOptions& options = {});

struct JsonFormatOptions {
  std::vector<std::string> required;
};
void describe(Schema& s, JsonFormatOptions& o);

/// 1 where `text` is one JSON value (parse_json: UTF-8, no duplicate keys, at most 64 deep) and,
/// with required keys, an object that has them all; else 0.
std::optional<double> json_reward(std::string_view text, const JsonFormatOptions& options = {});

}  // namespace luce
