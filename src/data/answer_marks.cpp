#include "answer_marks.h"

#include <algorithm>
#include <string_view>

#include "luce/base/error.h"

namespace luce {
namespace {

constexpr int64_t kLeastDecides = 10;  // what fewer pairs say is seldom told from chance
constexpr double kLevel = 0.01;        // of all marks together (Bonferroni)

/// Whether a line starts with "- ", "* ", "• " or a number, "." or ")" and a space.
bool has_list(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    for (const std::string_view bullet : {"- ", "* ", "• "})
      if (line.substr(0, bullet.size()) == bullet) return true;
    const size_t digits = std::min(line.find_first_not_of("0123456789"), line.size());
    const std::string_view behind = line.substr(digits, 2);
    if (digits > 0 && (behind == ". " || behind == ") ")) return true;
    at = end + 1;
  }
  return false;
}

bool has_any(std::string_view text, std::string_view characters) {
  return text.find_first_of(characters) != std::string_view::npos;
}

}  // namespace

void AnswerMarks::add(const Ids& chosen_answer, const Ids& rejected_answer) {
  const std::set<Mark> chosen = marks_of(chosen_answer), rejected = marks_of(rejected_answer);
  for (const Mark& mark : chosen)
    if (!rejected.count(mark)) ++counts_[mark].decides, ++counts_[mark].chosen;
  for (const Mark& mark : rejected)
    if (!chosen.count(mark)) ++counts_[mark].decides;
}

void AnswerMarks::tell(PreferenceStatistics& statistics) const {
  for (const auto& [mark, counts] : counts_)
    statistics.marks_tried += counts.decides >= kLeastDecides;
  if (statistics.marks_tried == 0) return;
  statistics.mark_threshold = kLevel / static_cast<double>(statistics.marks_tried);
  for (const auto& [mark, counts] : counts_) {
    if (counts.decides < kLeastDecides) continue;
    const double p = binomial_p(counts.chosen, counts.decides);
    if (p >= statistics.mark_threshold) continue;
    statistics.marks.push_back({name_of(mark), counts.decides, counts.chosen, p});
  }
  std::stable_sort(statistics.marks.begin(), statistics.marks.end(),
                   [](const AnswerMark& a, const AnswerMark& b) { return a.p < b.p; });
}

std::set<AnswerMarks::Mark> AnswerMarks::marks_of(const Ids& answer) {
  std::set<Mark> marks;
  if (answer.empty()) return marks;
  marks.emplace(Kind::begin, answer.front());
  const bool ended = eos_ && answer.back() == *eos_;
  if (answer.size() > ended) marks.emplace(Kind::end, answer[answer.size() - 1 - ended]);
  if (tokenizer_ == nullptr) return marks;
  const std::string text = text_of(answer);
  const auto mark = [&](Kind kind, bool is_there) {
    if (is_there) marks.emplace(kind, 0);
  };
  mark(Kind::cut, eos_ && !ended);
  mark(Kind::newline, has_any(text, "\n"));
  mark(Kind::list, has_list(text));
  mark(Kind::digit, has_any(text, "0123456789"));
  mark(Kind::bold, text.find("**") != std::string::npos);
  mark(Kind::question, has_any(text, "?"));
  mark(Kind::exclamation, has_any(text, "!"));
  return marks;
}

/// The texts of the tokens, each decoded once: characters of several tokens, which get lost, are
/// no marks.
std::string AnswerMarks::text_of(const Ids& answer) {
  std::string text;
  for (const int64_t id : answer) {
    const auto [place, is_new] = texts_.try_emplace(id);
    // Behind itself a token keeps the space that it may start with.
    if (is_new) place->second = tokenizer_->decode_completion({id}, {id});
    text += place->second;
  }
  return text;
}

std::string AnswerMarks::name_of(const Mark& mark) const {
  const auto token = [&] {
    return tokenizer_ ? cat('"', tokenizer_->piece(mark.second), '"') : cat("token ", mark.second);
  };
  switch (mark.first) {
    case Kind::begin:
      return "begin with " + token();
    case Kind::end:
      return "end with " + token();
    case Kind::cut:
      return kCutMark;
    case Kind::newline:
      return "contain a newline";
    case Kind::list:
      return "contain a list";
    case Kind::digit:
      return "contain a digit";
    case Kind::bold:
      return "contain \"**\"";
    case Kind::question:
      return "contain a question mark";
    case Kind::exclamation:
      break;
  }
  return "contain an exclamation mark";
}

}  // namespace luce
