#include <algorithm>
#include <cmath>

#include "answer_marks.h"
#include "luce/base/error.h"
#include "luce/data/chart.h"

namespace luce {
namespace {

constexpr int64_t kFewPairs = 1000;
constexpr double kUneven = 0.6, kSureZ = 3;  // of the share of longer chosen answers
constexpr double kManyRepeats = 0.01;        // of the pairs
constexpr int64_t kEnoughRepeated = 20;      // to tell a rate
constexpr size_t kMostMarks = 8;             // that are listed

std::string number(double value, int digits = 3) { return format_number(value, digits); }

std::string percent(double share) { return number(100 * share) + " %"; }

double share(int64_t k, int64_t n) { return static_cast<double>(k) / static_cast<double>(n); }

std::string with_error(const Estimate& e, double unit = 1) {
  const std::string value = number(unit * e.value);
  return std::isnan(e.error) ? value : cat(value, " ± ", number(unit * e.error, 2));
}

std::string counted(int64_t n, const char* one, const char* many) {
  return cat(n, " ", n == 1 ? one : many);
}

// Losses of pairs are named for rows of pairs alone.

/// Standard errors between the share of longer chosen answers and ½, as it would be by chance.
double length_z(const Estimate& longer) {
  return (longer.value - 0.5) * 2 * std::sqrt(static_cast<double>(longer.count));
}

/// The rate ε of flipped labels at which two judgements of one pair differ so often:
/// 2 ε (1 − ε) = d.
double flip_rate(double d) { return d < 0.5 ? (1 - std::sqrt(1 - 2 * d)) / 2 : 0.5; }

std::string length_advice(const PreferenceStatistics& s) {
  const double z = length_z(s.longer_chosen), longer = s.longer_chosen.value;
  if (longer > kUneven && z > kSureZ)
    return cat("Chosen answers are the longer ones in ", percent(longer),
               " of the pairs (z = ", number(z), "): a ",
               s.for_rewards ? "reward model" : "loss of summed log-probs",
               " can learn length instead of quality. ",
               s.from_scores || s.for_rewards
                   ? "Balance the answers by length."
                   : "Losses of means per token (sigmoid_norm, simpo), ld_alpha below 1, "
                     "or as many pairs whose chosen answer is the shorter one counter "
                     "that.");
  if (longer < 1 - kUneven && z < -kSureZ)
    return cat("Chosen answers are the shorter ones in ", percent(1 - longer),
               " of the pairs (z = ", number(-z),
               "): a model can learn to be brief instead of good. Watch the length of its samples, "
               "or balance the answers by length.");
  return "";
}

std::string mark_advice(const PreferenceStatistics& s) {
  for (const auto& mark : s.marks) {
    if (mark.name == kCutMark) continue;
    const bool good = 2 * mark.chosen > mark.decides;
    return cat("Answers that ", mark.name, " are ", good ? "chosen" : "rejected", " in ",
               percent(share(good ? mark.chosen : mark.decides - mark.chosen, mark.decides)),
               " of the pairs that this mark divides: a model can learn such a mark instead of "
               "what was judged. Look at these rows; where the mark is an accident of how answers "
               "were made, remove it or balance it.");
  }
  return "";
}

std::string cut_advice(const PreferenceStatistics& s) {
  for (const auto& mark : s.marks)
    if (mark.name == kCutMark)
      return "Whether an answer was cut tells which one is chosen: raise data.max_length, or leave "
             "out rows that do not fit.";
  return "";
}

std::string certainty_advice(const PreferenceStatistics& s) {
  if (s.from_scores || s.judged == 0 || s.soft > 0 || s.tied > 0 || s.contradicted > 0) return "";
  if (s.for_rewards)
    return cat(s.repeated == 0 ? "No pair is judged twice" : "No pair is judged both ways",
               " and no label is soft: rewards grow apart as long as training goes on. "
               "loss.label_smoothing above 0 gives margins a finite end.");
  return cat(s.repeated == 0 ? "No pair is judged twice" : "No pair is judged both ways",
             " and no label is soft: the loss dpo falls as long as margins grow. ipo has a finite "
             "target, and so has dpo with loss.label_smoothing above 0.");
}

std::string contradiction_advice(const PreferenceStatistics& s) {
  if (s.from_scores || s.contradicted == 0) return "";
  const std::string start =
      cat(counted(s.contradicted, "pair is", "pairs are"), " judged both ways, of ",
          counted(s.repeated, "that is", "that are"), " judged more than once");
  const std::string raters =
      s.raters > 1 ? " Where raters differ in taste, mixture serves each of them." : "";
  if (s.repeated < kEnoughRepeated)
    return cat(start,
               ": some labels are wrong or a matter of taste. loss.label_smoothing above 0 allows "
               "for that.",
               raters);
  const double rate = flip_rate(s.disagreement);
  const std::string differ =
      cat("; two judgements of a pair differ in ", percent(s.disagreement), " of cases, ");
  if (rate >= 0.5)
    return cat(start, differ, "no less than by chance: such labels tell nothing.", raters);
  return cat(
      start, differ, "as if ", percent(rate),
      " of the labels were wrong: loss.label_smoothing=", number(rate, 2),
      s.for_rewards ? " suits that." : " suits that, of dpo (less sure) or of robust (unbiased).",
      raters);
}

std::string repeat_advice(const PreferenceStatistics& s) {
  const int64_t again = s.pairs - s.distinct;
  if (s.pairs == 0 || share(again, s.pairs) <= kManyRepeats) return "";
  return cat(counted(again, "row repeats", "rows repeat"), " the pair of an earlier one (",
             percent(share(again, s.pairs)),
             "): such pairs weigh as often as they stand there. Keep one of each unless these are "
             "judgements of their own.");
}

std::string eval_advice(const PreferenceStatistics& s) {
  if (s.eval_known_prompts == 0 && s.eval_known_pairs == 0) return "";
  const int64_t known = std::max(s.eval_known_prompts, s.eval_known_pairs);
  return cat("The evaluation is optimistic: ", known, " of its ",
             counted(s.eval_pairs, "pair", "pairs"), known == 1 ? " has" : " have",
             " a prompt of the training rows. Split the rows by prompt.");
}

std::string size_advice(const PreferenceStatistics& s) {
  if (s.judged == 0 || s.judged >= kFewPairs) return "";
  return cat(counted(s.judged, "judged pair is", "judged pairs are"), " few (below ", kFewPairs,
             "): a model soon knows them by heart. ",
             s.from_scores || s.for_rewards
                 ? "Fewer"
                 : "ipo, loss.label_smoothing, a larger loss.beta or fewer",
             " epochs hold it back, and data.eval shows when to stop.");
}

std::string prompts_line(const PreferenceStatistics& s) {
  const auto& [one, two, several, many] = s.prompts_by_pairs;
  std::string list;
  for (const auto& [count, pairs] :
       {std::pair{one, "1"}, {two, "2"}, {several, "3 to 5"}, {many, "more than 5"}})
    if (count > 0) list += cat(list.empty() ? "" : ", ", count, " with ", pairs);
  return cat("pairs: ", s.pairs, s.from_scores ? " (best and worst answer of a row)" : "", " of ",
             counted(s.prompts, "prompt", "prompts"), ", ", number(share(s.pairs, s.prompts)),
             " a prompt and at most ", s.most_pairs, " (", list, ")\n");
}

std::string labels_line(const PreferenceStatistics& s) {
  std::string line = cat("  judged: ", s.judged);
  const auto add = [&](int64_t count, const char* what) {
    if (count > 0) line += cat(", ", count, " ", what);
  };
  add(s.soft, "with a soft label");
  add(s.tied, "tied");
  add(s.equal, "with two equal answers");
  if (s.raters > 1) add(s.raters, "raters");
  return line + "\n";
}

std::string repeats_lines(const PreferenceStatistics& s) {
  std::string lines;
  if (s.distinct < s.pairs)
    lines +=
        cat("  different pairs: ", s.distinct, ", ", s.repeated, " judged more than once, ",
            s.contradicted, " both ways",
            s.repeated > 0 ? cat(" (", percent(share(s.contradicted, s.repeated)), ")") : "", "\n");
  if (s.contradicted_prompts > 0)
    lines += cat("  prompts always decided alike: ", s.decided_prompts,
                 ", with a contradiction: ", s.contradicted_prompts, "\n");
  return lines;
}

std::string lengths_line(const PreferenceStatistics& s) {
  if (s.judged == 0) return "";
  std::string line = cat("  answer lengths (tokens): chosen ", with_error(s.chosen_length),
                         ", rejected ", with_error(s.rejected_length));
  if (s.longer_chosen.count > 0)
    line += cat("; the longer one is chosen in ", with_error(s.longer_chosen, 100), " % of ",
                counted(s.longer_chosen.count, "pair", "pairs"));
  if (s.equal_length > 0) line += cat("; ", s.equal_length, " of equal length");
  return line + "\n";
}

std::string marks_lines(const PreferenceStatistics& s) {
  if (s.marks.empty()) return "";
  std::string lines = cat("  marks that tell the chosen answer (of ", s.marks_tried,
                          " tried, p below ", number(s.mark_threshold, 2), "):\n");
  for (size_t i = 0; i < s.marks.size() && i < kMostMarks; ++i) {
    const auto& mark = s.marks[i];
    lines += cat("    answers that ", mark.name, ": chosen in ",
                 with_error(share_of(mark.chosen, mark.decides), 100), " % of ",
                 counted(mark.decides, "pair", "pairs"),
                 " that it divides, p = ", number(mark.p, 2), "\n");
  }
  if (s.marks.size() > kMostMarks) lines += cat("    and ", s.marks.size() - kMostMarks, " more\n");
  return lines;
}

}  // namespace

std::vector<std::string> advice(const PreferenceStatistics& statistics) {
  std::vector<std::string> sentences;
  for (const auto& part : {eval_advice, length_advice, mark_advice, cut_advice,
                           contradiction_advice, certainty_advice, size_advice, repeat_advice})
    if (std::string text = part(statistics); !text.empty()) sentences.push_back(std::move(text));
  return sentences;
}

std::string describe(const PreferenceStatistics& s) {
  if (s.pairs == 0) return "";
  std::string text =
      cat(prompts_line(s), labels_line(s), repeats_lines(s), lengths_line(s), marks_lines(s));
  if (s.has_eval)
    text += cat("  evaluation: ", counted(s.eval_pairs, "pair", "pairs"), ", ",
                s.eval_known_prompts, " with a prompt of the training rows, ", s.eval_known_pairs,
                " that ", s.eval_known_pairs == 1 ? "is" : "are", " in them\n");
  for (const auto& sentence : advice(s)) text += cat("  - ", sentence, "\n");
  return text;
}

}  // namespace luce
