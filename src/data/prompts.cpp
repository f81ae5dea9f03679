#include "luce/data/prompts.h"

#include "luce/base/error.h"
#include "luce/data/dataset.h"
#include "luce/data/examples.h"
#include "luce/data/jsonl.h"

namespace luce {
namespace {

constexpr size_t kReasons = 20;

/// Throws DataError where the row has no prompt.
Prompt read_prompt(const Json& row, const DatasetOptions& names, const Tokenizer* tokenizer) {
  const Columns columns(row, names);
  Prompt out;
  out.columns = row;
  if (columns.has("prompt")) {
    if (tokenizer == nullptr)
      throw UsageError("prompts that are texts need a tokenizer, and there is none");
    out.text = columns.text("prompt");
    out.ids = tokenizer->encode(out.text, tokenizer->add_bos());
  } else if (columns.has("input_ids")) {
    out.ids = columns.token_ids("input_ids");
    if (tokenizer != nullptr) out.text = tokenizer->decode(out.ids);
  } else {
    throw DataError(cat("the row has neither ", columns.quoted("prompt"), " nor ",
                        columns.quoted("input_ids")));
  }
  if (out.ids.empty()) throw DataError("the prompt is empty");
  return out;
}

}  // namespace

std::string describe(const PromptReport& r) {
  std::string out = cat(r.file, ": ", r.rows, " prompts, ", r.kept, " kept");
  if (r.too_long > 0) out += cat(", ", r.too_long, " too long");
  if (r.bad > 0) out += cat(", ", r.bad, " bad");
  return out;
}

PromptSet load_prompts(const std::filesystem::path& file, const Tokenizer* tokenizer,
                       const PromptOptions& options) {
  for (const auto& [ours, theirs] : options.column_map)
    if (ours != "prompt" && ours != "input_ids")
      throw UsageError(cat("data.column_map: \"", ours,
                           "\" is no column that prompts have; map \"prompt\" or \"input_ids\" "
                           "to the file's name. Rewards read other columns by the file's names"));
  DatasetOptions names;
  names.column_map = options.column_map;
  PromptSet out;
  PromptReport& report = out.report;
  report.file = file.string();
  JsonlReader reader(file);
  JsonRow row;
  while (reader.next(row)) {
    ++report.rows;
    std::string problem = row.problem;
    Prompt prompt;
    try {
      if (problem.empty()) prompt = read_prompt(row.value, names, tokenizer);
    } catch (const DataError& failure) {
      problem = failure.what();
    } catch (const UsageError& failure) {
      throw UsageError(cat(report.file, ": ", failure.what()));
    }
    if (!problem.empty()) {
      const std::string reason = cat(reader.where(row.number), ": ", problem);
      if (options.strict) throw DataError(reason + "; data.strict stops at the first bad row");
      ++report.bad;
      if (report.first_reasons.size() < kReasons) report.first_reasons.push_back(reason);
      continue;
    }
    if (static_cast<int64_t>(prompt.ids.size()) > options.max_length) {
      ++report.too_long;
      continue;
    }
    prompt.row = row.number;
    ++report.kept;
    out.prompts.push_back(std::move(prompt));
  }
  if (report.rows == 0) throw DataError(cat(report.file, " holds no rows"));
  if (report.bad * 100 > report.rows) {
    std::string reasons;
    for (const auto& reason : report.first_reasons) reasons += "\n  " + reason;
    throw DataError(cat(report.file, ": ", report.bad, " of ", report.rows,
                        " rows are bad; more than 1 % stops:", reasons));
  }
  if (report.kept == 0)
    throw DataError(cat(report.file, ": none of its ", report.rows, " prompts is left: ",
                        report.too_long, " have more than ", options.max_length, " tokens"));
  return out;
}

}  // namespace luce
