#include "luce/data/dataset.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "luce/base/error.h"
#include "luce/data/examples.h"
#include "luce/data/jsonl.h"
#include "luce/data/token_cache.h"

namespace luce {
namespace {

constexpr size_t kReasons = 20;
constexpr std::array kTypes = {RowType::preference,
                               RowType::unpaired,
                               RowType::scored,
                               RowType::ranked,
                               RowType::stepwise,
                               RowType::text,
                               RowType::prompt_completion,
                               RowType::input_ids};
constexpr std::array kColumns = {
    "prompt", "chosen", "rejected",    "reference", "margin", "rating", "rater", "completion",
    "label",  "score",  "completions", "ranks",     "scores", "labels", "text",  "input_ids"};

void check_choice(const char* option, const std::string& value,
                  const std::vector<std::string>& choices) {
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (value == choices[i]) return;
    list += cat(i == 0 ? "" : i + 1 < choices.size() ? ", " : " or ", choices[i]);
  }
  throw UsageError(cat(option, " is \"", value, "\", expected ", list));
}

void check_options(const DatasetOptions& options) {
  if (options.max_length < 2 || options.max_length > INT32_MAX)
    throw UsageError(cat("data.max_length is ", options.max_length, ", expected 2 or more"));
  std::vector<std::string> types = {"auto"};
  for (const RowType type : kTypes) types.push_back(name_of(type));
  check_choice("data.type", options.type, types);
  check_choice("data.ratings", options.ratings, {"ignore", "margin", "wide_margin", "label"});
  check_choice("data.ties", options.ties, {"drop", "half"});
  check_choice("data.overlong", options.overlong, {"cut", "drop"});
  for (const auto& [ours, theirs] : options.column_map) {
    if (std::find(kColumns.begin(), kColumns.end(), ours) != kColumns.end()) continue;
    std::string list;
    for (const char* column : kColumns) list += cat(list.empty() ? "" : ", ", column);
    throw UsageError(cat("data.column_map: \"", ours,
                         "\" is no column that is read; write the name that Luce reads (", list,
                         ") first, the file's name second"));
  }
}

std::string join(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) out += "\n  " + line;
  return out;
}

std::string percent(int64_t part, int64_t whole) {
  std::ostringstream out;
  out.precision(3);
  out << 100.0 * static_cast<double>(part) / static_cast<double>(whole) << " %";
  return out.str();
}

/// Reads all rows of one file, once.
class Loader {
 public:
  Loader(const std::filesystem::path& file, const Tokenizer* tokenizer,
         const DatasetOptions& options)
      : reader_(file), tokenizer_(tokenizer), options_(options) {
    report_.file = file.string();
  }

  Dataset run() {
    for (const RowType type : kTypes)
      if (options_.type == name_of(type)) set_type(type);
    JsonRow row;
    while (reader_.next(row)) {
      ++report_.rows;
      if (!row.problem.empty()) {
        drop(row.number, row.problem);
        continue;
      }
      if (is_conversational(row.value, options_))
        throw DataError(cat(
            reader_.where(row.number),
            ": the row holds a list of chat messages; chat templates are not "
            "read by this version: write the rows as the text that the template makes of them"));
      if (!has_type_) detect(row);
      std::string problem;
      RowTexts texts;
      RowTokens tokens;
      try {
        texts = read_row(row.value, dataset_.type, options_);
        tokens = tokenize_row(texts, dataset_.type, tokenizer_, options_);
      } catch (const DataError& failure) {
        problem = failure.what();
      }
      if (problem.empty())
        add(row.number, texts, std::move(tokens));
      else
        drop(row.number, problem);
    }
    finish();
    return std::move(dataset_);
  }

 private:
  void set_type(RowType type) {
    dataset_.type = report_.type = type;
    has_type_ = true;
    if (type == RowType::input_ids) return;
    if (tokenizer_ == nullptr)
      throw UsageError(
          cat(report_.file, ": ", name_of(type), " rows need a tokenizer, and there is none"));
    if (options_.add_eos && !tokenizer_->eos())
      throw UsageError(
          cat(report_.file,
              ": each row ends with the EOS token, but the tokenizer names none; name one in "
              "its tokenizer_config.json (\"eos_token\")"));
  }

  void detect(const JsonRow& row) {
    if (const auto type = detect_type(row.value, options_)) {
      report_.detected = true;
      return set_type(*type);
    }
    std::string keys;
    for (const auto& [key, value] : row.value.items())
      if (keys.size() < 200) keys += cat(keys.empty() ? "" : ", ", '"', key, '"');
    throw DataError(
        cat(reader_.where(row.number), ": rows of no known type: the keys are ",
            keys.empty() ? "none" : keys,
            "; expected \"chosen\" and \"rejected\", \"prompt\" and \"completion\" (perhaps with "
            "\"label\" or \"score\"), \"prompt\" and \"completions\" with \"ranks\", \"scores\" or "
            "\"labels\", \"text\", or \"input_ids\" (data.column_map renames columns)"));
  }

  void add(int64_t number, const RowTexts& texts, RowTokens tokens) {
    if (texts.tied && options_.ties == "drop") {
      ++report_.tied;
      return;
    }
    if (tokens.fate == RowTokens::Fate::too_long) {
      ++report_.too_long;
      return;
    }
    if (tokens.fate == RowTokens::Fate::empty) {
      ++report_.empty;
      return;
    }
    if (tokens.truncated && options_.overlong == "drop") {
      ++report_.overlong;
      return;
    }
    if (tokens.boundary) {
      if (options_.strict)
        throw DataError(cat(reader_.where(number),
                            ": the prompt does not end on a token: its last tokens merge with the "
                            "answer's first; data.strict refuses such rows"));
      ++report_.boundary;
      if (report_.first_boundary.size() < kReasons) report_.first_boundary.push_back(number);
    }
    report_.truncated += tokens.truncated;
    const auto& completions = tokens.example.completions;
    report_.equal_pairs += dataset_.type == RowType::preference && completions[0] == completions[1];
    report_.rated += texts.rated;
    report_.swapped += texts.swapped;
    report_.tied += texts.tied;
    ++report_.kept;
    tokens.example.row = number;
    if (texts.rater) tokens.example.rater = rater_of(*texts.rater);
    dataset_.examples.push_back(std::move(tokens.example));
  }

  int64_t rater_of(const std::string& name) {
    const auto [place, is_new] = raters_.try_emplace(name, dataset_.raters.size());
    if (is_new) dataset_.raters.push_back(name);
    return place->second;
  }

  void drop(int64_t number, const std::string& problem) {
    const std::string reason = cat(reader_.where(number), ": ", problem);
    if (options_.strict) throw DataError(reason + "; data.strict stops at the first bad row");
    ++report_.bad;
    if (report_.first_reasons.size() < kReasons) report_.first_reasons.push_back(reason);
  }

  void finish() {
    const auto& r = report_;
    if (r.rows == 0) throw DataError(cat(r.file, " holds no rows"));
    if (r.bad * 100 > r.rows)
      throw DataError(cat(r.file, ": ", r.bad, " of ", r.rows, " rows are bad (",
                          percent(r.bad, r.rows),
                          "; more than 1 % stops):", join(r.first_reasons)));
    if (r.kept == 0)
      throw DataError(cat(
          r.file, ": none of its ", r.rows, " rows is left: ", r.too_long,
          r.type == RowType::stepwise ? " whose prompt and first step do not fit in max_length ("
                                      : " with a prompt of max_length (",
          options_.max_length, r.type == RowType::stepwise ? ") tokens, " : ") tokens or more, ",
          r.overlong > 0 ? cat(r.overlong, " longer than that, ") : "", r.empty,
          " with an empty answer, ", r.bad, " bad", r.tied > 0 ? cat(", ", r.tied, " tied") : ""));
  }

  JsonlReader reader_;
  const Tokenizer* tokenizer_;
  const DatasetOptions& options_;
  Dataset dataset_;
  DatasetReport& report_ = dataset_.report;
  bool has_type_ = false;
  std::map<std::string, int64_t> raters_;  // name → index
};

}  // namespace

std::string name_of(RowType type) {
  switch (type) {
    case RowType::preference:
      return "preference";
    case RowType::unpaired:
      return "unpaired";
    case RowType::scored:
      return "scored";
    case RowType::ranked:
      return "ranked";
    case RowType::stepwise:
      return "stepwise";
    case RowType::text:
      return "text";
    case RowType::prompt_completion:
      return "prompt_completion";
    case RowType::input_ids:
      break;
  }
  return "input_ids";
}

std::string describe(const DatasetReport& report) {
  const auto list = [](std::initializer_list<std::pair<int64_t, const char*>> counts) {
    std::string out;
    for (const auto& [count, what] : counts)
      if (count > 0) out += cat(out.empty() ? " (" : ", ", count, " ", what);
    return out.empty() ? out : out + ")";
  };
  // What is neither kept nor dropped for another reason is a tie.
  const int64_t dropped = report.rows - report.kept;
  const int64_t dropped_ties =
      dropped - report.bad - report.too_long - report.empty - report.overlong;
  std::string out = cat(report.file, ": ", report.rows, " ", name_of(report.type), " rows",
                        report.detected ? " (by their keys)" : "", ", ", report.kept, " kept",
                        list({{report.truncated, "cut at max_length"},
                              {report.boundary, "with a prompt that does not end on a token"},
                              {report.equal_pairs, "with two equal answers"},
                              {report.rated, "rated, which data.ratings ignores"},
                              {report.swapped, "swapped by their rating"},
                              {report.tied - dropped_ties, "tied"}}));
  out += cat(", ", dropped, " dropped",
             list({{report.bad, "bad"},
                   {report.too_long, report.type == RowType::stepwise
                                         ? "whose prompt and first step do not fit in max_length"
                                         : "with a prompt of max_length or more"},
                   {report.overlong, "longer than max_length"},
                   {report.empty, "with an empty answer"},
                   {dropped_ties, "tied"}}));
  return out + (report.from_cache ? ", from the cache" : "");
}

Dataset group_by_prompt(Dataset dataset) {
  if (dataset.type != RowType::scored) return dataset;
  std::vector<Example> groups;
  std::map<std::vector<int64_t>, size_t> places;  // prompt → index into groups
  for (auto& example : dataset.examples) {
    const auto [place, is_new] = places.try_emplace(example.prompt, groups.size());
    if (is_new) {
      groups.push_back(std::move(example));
      continue;
    }
    Example& group = groups[place->second];
    group.completions.push_back(std::move(example.completions.front()));
    group.roles.push_back(Role::ranked);
    group.scores.push_back(example.scores.front());
  }
  dataset.examples = std::move(groups);
  return dataset;
}

Dataset load_dataset(const std::filesystem::path& file, const Tokenizer* tokenizer,
                     const DatasetOptions& options) {
  check_options(options);
  if (options.cache_dir.empty()) return Loader(file, tokenizer, options).run();

  const Digest key = cache_key(file, tokenizer, options);
  if (auto cached = read_cache(options.cache_dir, key)) {
    // The same content may have lain under another name.
    const std::string name = file.string();
    for (auto& reason : cached->report.first_reasons)
      reason.replace(0, cached->report.file.size(), name);
    cached->report.file = name;
    cached->report.from_cache = true;
    return *std::move(cached);
  }
  Dataset dataset = Loader(file, tokenizer, options).run();
  write_cache(options.cache_dir, key, dataset);
  return dataset;
}

}  // namespace luce
