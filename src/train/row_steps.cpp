#include "luce/train/row_steps.h"

#include <algorithm>

#include "luce/base/error.h"
#include "luce/base/random.h"

namespace luce {
namespace {

void check_fits(const Example& row, const ModelConfig& model) {
  size_t longest = 0;
  int64_t largest = 0;
  const auto look = [&](const std::vector<int64_t>& ids) {
    for (const int64_t id : ids) largest = id < 0 ? INT64_MAX : std::max(largest, id);
  };
  look(row.prompt);
  for (const auto& c : row.completions) {
    longest = std::max(longest, row.prompt.size() + c.size());
    look(c);
  }
  if (static_cast<int64_t>(longest) > model.max_position_embeddings)
    throw DataError(cat("row ", row.row, " has ", longest, " tokens; the model's context is ",
                        model.max_position_embeddings, ": lower data.max_length"));
  if (largest >= model.vocab_size)
    throw DataError(cat("row ", row.row, " holds the token id ", largest,
                        "; the model's vocabulary has ", model.vocab_size));
}

}  // namespace

RowSteps::RowSteps(std::vector<Example> train, std::vector<Example> eval, const ModelConfig& model,
                   const RowOptions& options)
    : train_(std::move(train)), eval_(std::move(eval)), options_(options) {
  if (train_.empty() && !options_.rows_come_later) throw DataError("there are no rows to train on");
  for (const auto* rows : {&train_, &eval_})
    for (const auto& row : *rows) check_fits(row, model);
}

int64_t RowSteps::steps_per_epoch() const {
  const auto rows = static_cast<int64_t>(train_.size());
  return (rows + options_.batch_size - 1) / options_.batch_size;
}

Step RowSteps::next(int64_t step) const {
  const auto rows = static_cast<int64_t>(train_.size());
  const int64_t epoch = step / steps_per_epoch();
  const int64_t begin = step % steps_per_epoch() * options_.batch_size;
  std::vector<int64_t> order;
  if (options_.shuffle)
    order = Random(options_.seed, Purpose::shuffle).permutation(static_cast<uint64_t>(epoch), rows);
  RowList picked;
  Step out;
  for (int64_t i = begin; i < std::min(rows, begin + options_.batch_size); ++i) {
    const int64_t at = options_.shuffle ? order[static_cast<size_t>(i)] : i;
    picked.push_back(&train_[static_cast<size_t>(at)]);
    out.rows.push_back(picked.back()->row);
  }
  out.is_first = step == 0;
  out.totals = totals_of(picked);
  out.micro_batches = micro_batches(picked);
  return out;
}

std::vector<RowList> RowSteps::micro_batches(const RowList& rows) const {
  std::vector<RowList> out;
  int64_t tokens = 0;
  for (const Example* row : rows) {
    const int64_t more = rows_of(*row, options_.batch);
    if (out.empty() || tokens + more > options_.micro_batch_tokens) {
      out.emplace_back();
      tokens = 0;
    }
    out.back().push_back(row);
    tokens += more;
  }
  return out;
}

RowList pointers(const std::vector<Example>& rows) {
  RowList out;
  out.reserve(rows.size());
  for (const auto& row : rows) out.push_back(&row);
  return out;
}

std::string named_rows(const std::vector<int64_t>& rows) {
  std::string out = rows.size() == 1 ? "row " : "rows ";
  for (size_t i = 0; i < rows.size() && i < 8; ++i) out += cat(i ? ", " : "", rows[i]);
  if (rows.size() > 8) out += cat(" and ", rows.size() - 8, " more");
  return out;
}

}  // namespace luce
