#include "luce/data/examples.h"

#include <algorithm>

#include "luce/base/error.h"

namespace luce {
namespace {

/// The value of a column under the name that the file has for it; a null counts as absent.
const Json* column(const Json& row, const std::string& name, const DatasetOptions& options) {
  const auto renamed = options.column_map.find(name);
  const auto it = row.find(renamed == options.column_map.end() ? name : renamed->second);
  return it == row.end() || it->is_null() ? nullptr : &*it;
}

bool has(const Json& row, const char* name, const DatasetOptions& options) {
  return column(row, name, options) != nullptr;
}

std::string quoted(const std::string& name, const DatasetOptions& options) {
  const auto renamed = options.column_map.find(name);
  return cat('"', renamed == options.column_map.end() ? name : renamed->second, '"');
}

std::string kind(const Json& value) {
  if (value.is_boolean()) return "true or false";
  if (value.is_number()) return "a number";
  if (value.is_array()) return "a list";
  if (value.is_object()) return "an object";
  return "a string";
}

const Json& needed(const Json& row, const std::string& name, const DatasetOptions& options) {
  const Json* value = column(row, name, options);
  if (value == nullptr) throw DataError(cat(quoted(name, options), " is missing"));
  return *value;
}

std::string text_of(const Json& row, const std::string& name, const DatasetOptions& options) {
  const Json& value = needed(row, name, options);
  if (!value.is_string())
    throw DataError(cat(quoted(name, options), " is ", kind(value), ", expected a string"));
  const auto& text = value.get_ref<const std::string&>();
  if (text.find('\0') != std::string::npos)
    throw DataError(cat(quoted(name, options), " holds a NUL character"));
  return text;
}

std::vector<int64_t> ids_of(const Json& row, const DatasetOptions& options) {
  const Json& value = needed(row, "input_ids", options);
  if (!value.is_array())
    throw DataError(
        cat(quoted("input_ids", options), " is ", kind(value), ", expected a list of token ids"));
  std::vector<int64_t> ids;
  for (const auto& id : value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX)
      throw DataError(cat(quoted("input_ids", options), " holds ",
                          id.is_number() ? id.dump() : kind(id), " at place ", ids.size(),
                          ", expected a token id"));
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

size_t common_prefix(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

}  // namespace

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
  if (has(row, "chosen", options) && has(row, "rejected", options)) return RowType::preference;
  if (has(row, "input_ids", options)) return RowType::input_ids;
  if (has(row, "prompt", options) && has(row, "completion", options))
    return RowType::prompt_completion;
  if (has(row, "text", options)) return RowType::text;
  return std::nullopt;
}

bool is_conversational(const Json& row, const DatasetOptions& options) {
  for (const char* name :
       {"prompt", "chosen", "rejected", "completion", "messages", "conversations"}) {
    const Json* value = column(row, name, options);
    if (value != nullptr && value->is_array() && !value->empty() && value->front().is_object())
      return true;
  }
  return false;
}

RowTexts read_row(const Json& row, RowType type, const DatasetOptions& options) {
  RowTexts out;
  switch (type) {
    case RowType::preference:
      out.completions = {text_of(row, "chosen", options), text_of(row, "rejected", options)};
      if (has(row, "prompt", options)) {
        out.prompt = text_of(row, "prompt", options);
      } else {
        const size_t length = shared_prompt(out.completions[0], out.completions[1]);
        out.prompt = out.completions[0].substr(0, length);
        for (auto& completion : out.completions) completion.erase(0, length);
      }
      break;
    case RowType::prompt_completion:
      out.prompt = text_of(row, "prompt", options);
      out.completions = {text_of(row, "completion", options)};
      break;
    case RowType::text:
      out.completions = {text_of(row, "text", options)};
      break;
    case RowType::input_ids:
      out.ids = ids_of(row, options);
      break;
  }
  return out;
}

RowTokens tokenize_row(const RowTexts& texts, RowType type, const Tokenizer* tokenizer,
                       const DatasetOptions& options) {
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
  if (type == RowType::preference ||
      (type == RowType::prompt_completion && options.completion_only_loss)) {
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

  out.example.prompt.assign(wholes[0].begin(), wholes[0].begin() + static_cast<int64_t>(prompt));
  for (auto& whole : wholes) {
    out.truncated = out.truncated || whole.size() > max_length;
    whole.resize(std::min(whole.size(), max_length));
    out.example.completions.emplace_back(whole.begin() + static_cast<int64_t>(prompt), whole.end());
  }
  return out;
}

}  // namespace luce
