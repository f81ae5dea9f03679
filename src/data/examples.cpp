#include "luce/data/examples.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/data/judgements.h"

namespace luce {
namespace {

std::string type_of(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "true or false";
  if (value.is_number()) return "a number";
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return "a string";
}

std::optional<std::string> text_in(const Json& value) {
  if (!value.is_string()) return std::nullopt;
  return value.get<std::string>();
}

std::optional<std::string> name_in(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number() || value.get<double>() != std::floor(value.get<double>()))
    return std::nullopt;
  return value.dump();
}

std::optional<double> number_in(const Json& value) {
  if (!value.is_number()) return std::nullopt;
  return value.get<double>();
}

std::optional<bool> flag_in(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value != 0 && value != 1) return std::nullopt;
  return value == 1;
}

std::optional<int64_t> token_id_in(const Json& value) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX) return std::nullopt;
  return value.get<int64_t>();
}

/// A kind of value: how it is read, nothing where it cannot be, and its name in errors.
template <class T>
struct Kind {
  std::optional<T> (*read)(const Json&);
  const char *one, *many;
  bool numeric = true;  // a number is of the right type, so an error shows which one it is
};

constexpr Kind<std::string> kText = {text_in, "a string", "strings", /*numeric=*/false};
constexpr Kind<std::string> kName = {name_in, "a string or a whole number",
                                     "strings or whole numbers"};
constexpr Kind<double> kNumber = {number_in, "a number", "numbers"};
constexpr Kind<bool> kFlag = {flag_in, "true, false, 1 or 0", "true, false, 1 or 0"};
constexpr Kind<int64_t> kTokenId = {token_id_in, "a token id", "token ids"};

const Json& needed(const Columns& row, const std::string& column) {
  const Json* value = row.find(column);
  if (value == nullptr) throw DataError(cat(row.quoted(column), " is missing"));
  return *value;
}

template <class T>
std::string shown(const Json& value, const Kind<T>& kind) {
  return kind.numeric && value.is_number() ? value.dump() : type_of(value);
}

template <class T>
T one_of(const Columns& row, const std::string& column, const Kind<T>& kind) {
  const Json& value = needed(row, column);
  if (auto read = kind.read(value)) return *std::move(read);
  throw DataError(cat(row.quoted(column), " is ", shown(value, kind), ", expected ", kind.one));
}

template <class T>
std::vector<T> list_of(const Columns& row, const std::string& column, const Kind<T>& kind) {
  const Json& values = needed(row, column);
  if (!values.is_array())
    throw DataError(
        cat(row.quoted(column), " is ", type_of(values), ", expected a list of ", kind.many));
  std::vector<T> out;
  for (const auto& value : values) {
    auto read = kind.read(value);
    if (!read)
      throw DataError(cat(row.quoted(column), " holds ", shown(value, kind), " at place ",
                          out.size(), ", expected ", kind.one));
    out.push_back(*std::move(read));
  }
  return out;
}

size_t common_prefix(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

/// Prompt and steps on their own, a newline's tokens behind each step, EOS behind the last one. A
/// step that does not fit wholly is cut off with all that follow it.
RowTokens tokenize_steps(const RowTexts& texts, const Tokenizer& tokenizer,
                         const DatasetOptions& options) {
  const auto separator = tokenizer.encode("\n", false);
  const auto eos = tokenizer.encode(options.add_eos ? tokenizer.eos_text() : "", false);
  auto whole = tokenizer.encode(texts.prompt, tokenizer.add_bos(), options.max_length);
  const auto prompt = std::max<int64_t>(static_cast<int64_t>(whole.size()), 1);
  RowTokens out;
  std::vector<StepLabel> steps;
  for (size_t i = 0; i < texts.completions.size(); ++i) {
    auto ids = tokenizer.encode(texts.completions[i], false, options.max_length + 1);
    ids.insert(ids.end(), separator.begin(), separator.end());
    if (i + 1 == texts.completions.size()) ids.insert(ids.end(), eos.begin(), eos.end());
    out.truncated = whole.size() + ids.size() > static_cast<size_t>(options.max_length);
    if (out.truncated) break;
    whole.insert(whole.end(), ids.begin(), ids.end());
    const int64_t end = static_cast<int64_t>(whole.size()) - prompt;
    if (end <= (steps.empty() ? 0 : steps.back().end)) out.fate = RowTokens::Fate::empty;
    steps.push_back({.end = end, .right = texts.judged.steps[i].right});
  }
  if (steps.empty()) out.fate = RowTokens::Fate::too_long;
  if (out.fate != RowTokens::Fate::kept) return out;

  out.example = texts.judged;
  out.example.steps = std::move(steps);
  out.example.prompt.assign(whole.begin(), whole.begin() + prompt);
  out.example.completions = {{whole.begin() + prompt, whole.end()}};
  return out;
}

/// Takes the prompt that chosen and rejected share off all answers.
void split_prompt(const Columns& row, RowTexts& out) {
  const size_t length = shared_prompt(out.completions[0], out.completions[1]);
  out.prompt = out.completions[0].substr(0, length);
  for (auto& completion : out.completions) {
    if (completion.compare(0, length, out.prompt) != 0)
      throw DataError(cat(row.quoted("reference"), " does not start with the prompt that ",
                          row.quoted("chosen"), " and ", row.quoted("rejected"),
                          " share; write the prompt as ", row.quoted("prompt")));
    completion.erase(0, length);
  }
}

void check_nul(const Columns& row, const std::string& column, const std::string& text) {
  if (text.find('\0') != std::string::npos)
    throw DataError(cat(row.quoted(column), " holds a NUL character"));
}

}  // namespace

const Json* Columns::find(const std::string& column) const {
  const auto renamed = names_.find(column);
  const auto it = row_.find(renamed == names_.end() ? column : renamed->second);
  return it == row_.end() || it->is_null() ? nullptr : &*it;
}

std::string Columns::quoted(const std::string& column) const {
  const auto renamed = names_.find(column);
  return cat('"', renamed == names_.end() ? column : renamed->second, '"');
}

std::string Columns::text(const std::string& column) const {
  std::string text = one_of(*this, column, kText);
  check_nul(*this, column, text);
  return text;
}

std::vector<std::string> Columns::texts(const std::string& column) const {
  auto texts = list_of(*this, column, kText);
  for (const auto& text : texts) check_nul(*this, column, text);
  return texts;
}

std::string Columns::name(const std::string& column) const { return one_of(*this, column, kName); }

double Columns::number(const std::string& column) const { return one_of(*this, column, kNumber); }

std::vector<double> Columns::numbers(const std::string& column) const {
  return list_of(*this, column, kNumber);
}

bool Columns::flag(const std::string& column) const { return one_of(*this, column, kFlag); }

std::vector<bool> Columns::flags(const std::string& column) const {
  return list_of(*this, column, kFlag);
}

std::vector<int64_t> Columns::token_ids(const std::string& column) const {
  return list_of(*this, column, kTokenId);
}

size_t shared_prompt(std::string_view chosen, std::string_view rejected) {
  size_t same = static_cast<size_t>(
      std::mismatch(chosen.begin(), chosen.end(), rejected.begin(), rejected.end()).first -
      chosen.begin());
  if (same == std::min(chosen.size(), rejected.size())) return same;
  while (same > 0 && (static_cast<unsigned char>(chosen[same]) & 0xC0) == 0x80) --same;
  if (same > 0 && chosen[same - 1] == ' ') --same;
  return same;
}

std::optional<RowType> detect_type(const Json& row, const DatasetOptions& options) {
  const Columns columns(row, options);
  const auto has = [&](const char* column) { return columns.has(column); };
  if (has("chosen") && has("rejected")) return RowType::preference;
  if (has("completions") && has("labels")) return RowType::stepwise;
  if (has("completions") && (has("ranks") || has("scores"))) return RowType::ranked;
  const bool answered = has("prompt") && has("completion");
  if (answered && has("label")) return RowType::unpaired;
  if (answered && has("score")) return RowType::scored;
  if (has("input_ids")) return RowType::input_ids;
  if (answered) return RowType::prompt_completion;
  if (has("text")) return RowType::text;
  return std::nullopt;
}

bool is_conversational(const Json& row, const DatasetOptions& options) {
  const Columns columns(row, options);
  for (const char* name : {"prompt", "chosen", "rejected", "reference", "completion", "completions",
                           "messages", "conversations"}) {
    const Json* value = columns.find(name);
    // A list of messages, or a list of such lists.
    bool in_list = false;
    while (value != nullptr && value->is_array() && !value->empty()) {
      value = &value->front();
      in_list = true;
    }
    if (in_list && value->is_object()) return true;
  }
  return false;
}

RowTexts read_row(const Json& row, RowType type, const DatasetOptions& options) {
  const Columns columns(row, options);
  RowTexts out;
  switch (type) {
    case RowType::preference:
      out.completions = {columns.text("chosen"), columns.text("rejected")};
      if (columns.has("reference")) out.completions.push_back(columns.text("reference"));
      if (columns.has("prompt"))
        out.prompt = columns.text("prompt");
      else
        split_prompt(columns, out);
      break;
    case RowType::unpaired:
    case RowType::scored:
    case RowType::prompt_completion:
      out.prompt = columns.text("prompt");
      out.completions = {columns.text("completion")};
      break;
    case RowType::ranked:
    case RowType::stepwise:
      out.prompt = columns.text("prompt");
      out.completions = columns.texts("completions");
      break;
    case RowType::text:
      out.completions = {columns.text("text")};
      break;
    case RowType::input_ids:
      out.ids = columns.token_ids("input_ids");
      break;
  }
  read_judgements(columns, type, options, out);
  return out;
}

RowTokens tokenize_row(const RowTexts& texts, RowType type, const Tokenizer* tokenizer,
                       const DatasetOptions& options) {
  if (type == RowType::stepwise) return tokenize_steps(texts, *tokenizer, options);
  const auto max_length = static_cast<size_t>(options.max_length);
  // One token more than is kept shows whether a text is longer; no more is worth encoding.
  const auto encode = [&](const std::string& text) {
    return tokenizer->encode(text, tokenizer->add_bos(), options.max_length + 1);
  };
  std::vector<std::vector<int64_t>> wholes;
  if (type == RowType::input_ids) {
    if (tokenizer != nullptr)
      for (const int64_t id : texts.ids)
        if (id >= tokenizer->vocab_size())
          throw DataError(
              cat("token id ", id, " is outside the vocabulary of ", tokenizer->vocab_size()));
    wholes = {texts.ids};
  }
  const std::string eos = options.add_eos && tokenizer != nullptr ? tokenizer->eos_text() : "";
  for (const auto& completion : texts.completions) {
    const bool ends = completion.size() >= eos.size() &&
                      completion.compare(completion.size() - eos.size(), eos.size(), eos) == 0;
    wholes.push_back(encode(cat(texts.prompt, completion, ends ? "" : eos)));
  }

  RowTokens out;
  size_t prompt = 0;
  const bool one_text = type == RowType::text || type == RowType::input_ids ||
                        (type == RowType::prompt_completion && !options.completion_only_loss);
  if (!one_text) {
    const auto ids = encode(texts.prompt);
    prompt = ids.size();
    for (const auto& whole : wholes) prompt = std::min(prompt, common_prefix(ids, whole));
    out.boundary = prompt < ids.size();
  }
  for (const auto& whole : wholes)
    if (whole.size() <= prompt) out.fate = RowTokens::Fate::empty;
  if (prompt == 0 && out.fate == RowTokens::Fate::kept) {
    prompt = 1;
    for (const auto& whole : wholes) {
      if (whole[0] != wholes[0][0])
        throw DataError(
            "the answers share no first token to start from, and the tokenizer adds no BOS");
      if (whole.size() < 2) out.fate = RowTokens::Fate::empty;
    }
  }
  if (prompt >= max_length) out.fate = RowTokens::Fate::too_long;
  if (out.fate != RowTokens::Fate::kept) return out;

  out.example = texts.judged;
  out.example.prompt.assign(wholes[0].begin(), wholes[0].begin() + static_cast<int64_t>(prompt));
  for (auto& whole : wholes) {
    out.truncated = out.truncated || whole.size() > max_length;
    whole.resize(std::min(whole.size(), max_length));
    out.example.completions.emplace_back(whole.begin() + static_cast<int64_t>(prompt), whole.end());
  }
  return out;
}

}  // namespace luce
