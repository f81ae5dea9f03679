// Marks by which answers could be told apart without being understood.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "luce/data/preference_statistics.h"

namespace luce {

/// The name of the mark of answers that were cut.
constexpr const char* kCutMark = "lack the end of sequence";

/// Counts marks of answers, and how pairs that they divide were decided.
class AnswerMarks {
 public:
  using Ids = std::vector<int64_t>;

  /// Without a tokenizer marks are of token ids alone.
  explicit AnswerMarks(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {
    if (tokenizer_ != nullptr) eos_ = tokenizer_->eos();
  }

  void add(const Ids& chosen, const Ids& rejected);
  /// Fills in marks, marks_tried and mark_threshold.
  void tell(PreferenceStatistics& statistics) const;

 private:
  enum class Kind { begin, end, cut, newline, list, digit, bold, question, exclamation };
  using Mark = std::pair<Kind, int64_t>;  // with a token id where it is about one, else 0

  std::set<Mark> marks_of(const Ids& answer);
  std::string text_of(const Ids& answer);
  std::string name_of(const Mark& mark) const;

  const Tokenizer* tokenizer_;
  std::optional<int64_t> eos_;
  std::map<Mark, AnswerMark> counts_;
  std::unordered_map<int64_t, std::string> texts_;  // of tokens
};

}  // namespace luce
