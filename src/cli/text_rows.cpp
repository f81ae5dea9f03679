#include "text_rows.h"

#include "luce/base/error.h"
#include "luce/data/jsonl.h"

namespace luce::cli {
namespace {

constexpr size_t kRowsAtOnce = 256;
constexpr const char* kMessages =
    "a list of chat messages; write the text that the chat template makes of them";

TextRow text_row(const JsonRow& row, const JsonlReader& reader) {
  TextRow out{.number = row.number, .where = reader.where(row.number), .texts = {}};
  const auto fail = [&](const std::string& problem) {
    throw DataError(cat(out.where, ": ", problem));
  };
  if (!row.problem.empty()) fail(row.problem);
  const DatasetOptions options;
  if (is_conversational(row.value, options)) fail(kMessages);
  const auto type = detect_type(row.value, options);
  if (!type)
    fail(
        "expected answers: chosen and rejected, prompt and completion, completions with ranks, "
        "scores or labels, text, or input_ids");
  out.type = *type;
  try {
    out.texts = read_row(row.value, *type, options);
  } catch (const DataError& failure) {
    fail(failure.what());
  }
  return out;
}

}  // namespace

void for_text_rows(const std::filesystem::path& file,
                   const std::function<void(const std::vector<TextRow>&)>& fn) {
  JsonlReader reader(file);
  JsonRow row;
  std::vector<TextRow> rows;
  bool any = false;
  while (reader.next(row)) {
    rows.push_back(text_row(row, reader));
    any = true;
    if (rows.size() < kRowsAtOnce) continue;
    fn(rows);
    rows.clear();
  }
  if (!any) throw DataError(cat(file.string(), ": there are no rows"));
  if (!rows.empty()) fn(rows);
}

std::vector<std::string> answers_of(const TextRow& row) {
  if (row.type == RowType::input_ids)
    throw DataError(cat(row.where, ": a judge reads texts; this row holds token ids"));
  if (row.type != RowType::stepwise) return row.texts.completions;
  std::string whole;
  for (const auto& step : row.texts.completions) whole += (whole.empty() ? "" : "\n") + step;
  return {whole};
}

std::vector<PromptRow> read_prompts(const std::filesystem::path& file) {
  JsonlReader reader(file);
  JsonRow row;
  std::vector<PromptRow> prompts;
  while (reader.next(row)) {
    const std::string where = reader.where(row.number);
    if (!row.problem.empty()) throw DataError(cat(where, ": ", row.problem));
    const DatasetOptions options;
    if (is_conversational(row.value, options)) throw DataError(cat(where, ": ", kMessages));
    try {
      prompts.push_back({where, Columns(row.value, options).text("prompt")});
    } catch (const DataError& failure) {
      throw DataError(cat(where, ": ", failure.what()));
    }
  }
  if (prompts.empty()) throw DataError(cat(file.string(), ": there are no rows"));
  return prompts;
}

}  // namespace luce::cli
