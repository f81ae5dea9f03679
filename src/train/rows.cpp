#include "train/rows.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/base/random.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

/// The types of rows that serve a loss.
std::vector<RowType> types_for(Rows rows, const std::string& task) {
  using enum RowType;
  if (task == "sft") return {text, prompt_completion, input_ids};
  switch (rows) {
    case Rows::pairs:
      return {preference};
    case Rows::labelled:
      if (task == "reward") return {unpaired, stepwise, preference};
      return {unpaired, preference};
    case Rows::ranked:
      return {ranked, scored, preference};
    case Rows::scored:
      return {scored, ranked};
    case Rows::stepwise:
      return {stepwise};
    case Rows::any:
      break;
  }
  return {preference, unpaired, scored, ranked, stepwise};
}

void check_type(const Dataset& data, const RunConfig& config, Rows rows, const std::string& file) {
  const auto types = types_for(rows, config.task);
  if (std::find(types.begin(), types.end(), data.type) != types.end()) return;
  std::string names;
  for (const RowType type : types) names += (names.empty() ? "" : " or ") + name_of(type);
  throw DataError(cat(file, ": task \"", config.task, "\" with this loss needs ", names,
                      " rows, and these are ", name_of(data.type),
                      " rows (data.type says how rows are read)"));
}

/// Makes of rows what the loss can use: gold answers only where it reads them, answers of one
/// prompt together where it compares scores.
Dataset prepared(Dataset data, const RowNeeds& needs) {
  if (data.type == RowType::scored && needs.comparisons) {
    data = group_by_prompt(std::move(data));
    const auto lone =
        std::erase_if(data.examples, [](const Example& row) { return row.completions.size() < 2; });
    if (lone > 0)
      log::warn(data.report.file, ": ", lone,
                " prompts have one answer, with nothing to compare it to; they are left out");
    if (data.examples.empty())
      throw DataError(cat(data.report.file, ": no prompt has two scored answers to compare"));
  }
  for (Example& row : data.examples)
    if (!needs.gold && row.completions.size() == 3 && row.role(2) == Role::gold) {
      row.completions.pop_back();
      row.roles.pop_back();
    }
  return data;
}

/// Gives raters of the evaluation rows the indices that they have among the training rows.
void align_raters(const Dataset& train, Dataset& eval) {
  std::vector<std::string> known = train.raters;
  for (Example& row : eval.examples) {
    if (row.rater < 0) continue;
    const std::string& name = eval.raters[static_cast<size_t>(row.rater)];
    const auto at = std::find(known.begin(), known.end(), name);
    row.rater = at - known.begin();
    if (at == known.end()) known.push_back(name);
  }
  eval.raters = std::move(known);
}

/// Mean and standard deviation of all scores.
std::pair<double, double> score_moments(const std::vector<Example>& rows) {
  double sum = 0, squares = 0, count = 0;
  for (const auto& row : rows)
    for (const double score : row.scores) {
      sum += score;
      count += 1;
    }
  const double mean = sum / count;
  for (const auto& row : rows)
    for (const double score : row.scores) squares += (score - mean) * (score - mean);
  return {mean, std::sqrt(squares / std::max(count - 1, 1.0))};
}

/// Moves the last share of the rows, in a seeded order, to an evaluation set.
Dataset held_out(Dataset& train, double fraction, uint64_t seed) {
  const auto n = static_cast<int64_t>(train.examples.size());
  const auto count =
      std::min(n - 1, static_cast<int64_t>(std::llround(fraction * static_cast<double>(n))));
  std::vector<bool> picked(static_cast<size_t>(n));
  const auto order = Random(seed, Purpose::shuffle).permutation(UINT64_MAX, n);
  for (int64_t i = 0; i < count; ++i)
    picked[static_cast<size_t>(order[static_cast<size_t>(i)])] = true;
  Dataset eval = train;
  eval.examples.clear();
  std::vector<Example> kept;
  for (size_t i = 0; i < picked.size(); ++i)
    (picked[i] ? eval.examples : kept).push_back(std::move(train.examples[i]));
  train.examples = std::move(kept);
  return eval;
}

void tell(const DatasetReport& report) {
  log::info(describe(report));
  for (const auto& reason : report.first_reasons) log::warn("dropped ", reason);
}

}  // namespace

RowNeeds needs_of(const SequenceLoss& loss) {
  return {loss.rows(), loss.needs().gold, loss.rows() != Rows::any};
}

RowNeeds needs_of(const RewardLoss& loss) { return {loss.rows(), false, !loss.predicts_scores()}; }

DatasetOptions dataset_options(const RunConfig& config) {
  DatasetOptions o;
  o.max_length = config.data.max_length;
  o.overlong = config.overlong();
  o.strict = config.data.strict;
  o.completion_only_loss = config.data.completion_only_loss;
  o.ratings = config.data.ratings;
  o.ties = config.data.ties;
  o.type = config.data.type;
  for (const auto& [key, value] : config.data.column_map.items())
    o.column_map[key] = value.get<std::string>();
  o.cache_dir = config.data.cache_dir.value_or((fs::path(config.output_dir) / "cache").string());
  return o;
}

void standardise(std::vector<Example>& train, std::vector<Example>& eval, DataSection& data) {
  const auto [mean, deviation] = score_moments(train);
  if (!data.score_mean) data.score_mean = mean;
  if (!data.score_std) data.score_std = deviation;
  if (!(*data.score_std > 0))
    throw DataError(cat(data.train, ": all scores are equal; there is nothing to learn from them"));
  log::info("scores: mean ", *data.score_mean, ", standard deviation ", *data.score_std);
  for (auto* rows : {&train, &eval})
    for (auto& row : *rows)
      for (double& score : row.scores) score = (score - *data.score_mean) / *data.score_std;
}

void use_ches(const CausalLM& model, const RunConfig& config, std::vector<Example>& train,
              int64_t micro_batch_tokens) {
  const auto scores = ches(model, pointers(train), micro_batch_tokens);
  std::string lines;
  double sum = 0, largest = -INFINITY;
  std::vector<size_t> order(train.size());
  for (size_t i = 0; i < train.size(); ++i) {
    lines +=
        Json{{"row", train[i].row}, {"ches", scores[i].score}, {"normalised", scores[i].normalised}}
            .dump() +
        "\n";
    sum += scores[i].normalised;
    largest = std::max(largest, scores[i].normalised);
    order[i] = i;
  }
  make_folder(config.output_dir);
  write_file_atomic(fs::path(config.output_dir) / "ches.jsonl", lines);
  log::info("CHES, length-normalised: mean ", sum / static_cast<double>(train.size()), ", largest ",
            largest);
  const auto keep =
      std::max<size_t>(1, static_cast<size_t>(std::llround(config.displacement.ches_keep *
                                                           static_cast<double>(train.size()))));
  if (keep == train.size()) return;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a].normalised < scores[b].normalised; });
  order.resize(keep);
  std::sort(order.begin(), order.end());
  std::vector<Example> kept;
  for (const size_t i : order) kept.push_back(std::move(train[i]));
  log::info(train.size() - keep, " pairs of the largest CHES are left out, ", keep, " kept");
  train = std::move(kept);
}

std::pair<Dataset, std::optional<Dataset>> load_rows(const RunConfig& config, const RowNeeds& needs,
                                                     const Tokenizer* tokenizer) {
  const auto load = [&](const std::string& file) {
    Dataset data = load_dataset(file, tokenizer, dataset_options(config));
    check_type(data, config, needs.rows, file);
    tell(data.report);
    return prepared(std::move(data), needs);
  };
  Dataset train = load(config.data.train);
  std::optional<Dataset> eval;
  if (config.data.eval) {
    eval = load(*config.data.eval);
    align_raters(train, *eval);
  } else if (config.data.eval_fraction > 0) {
    eval = held_out(train, config.data.eval_fraction, static_cast<uint64_t>(config.train.seed));
    log::info(eval->examples.size(), " rows are held out for evaluation");
  }
  return {std::move(train), std::move(eval)};
}

}  // namespace luce
