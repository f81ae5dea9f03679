#include <ATen/ATen.h>

#include <filesystem>
#include <iostream>
#include <limits>

#include "luce/base/error.h"
#include "luce/data/examples.h"
#include "luce/data/jsonl.h"
#include "luce/data/metrics_file.h"
#include "luce/data/tokenizer.h"
#include "luce/model/roles.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct Args {
  std::string model, rows, dtype = "float32", device = "auto";
  bool batch_invariant = false;
  bool no_eos = false;
  int64_t micro_batch_tokens = 16384;
};

void print(const Reference& reference, const std::vector<Example>& examples) {
  if (examples.empty()) return;
  std::vector<const Example*> rows;
  for (const auto& example : examples) rows.push_back(&example);
  const Batch batch = make_batch(rows).to(reference.model().options().device);
  const Tensor logps = head(reference.hidden(batch), reference.head_weight(), batch.targets, {})
                           .logps.to(at::kCPU, at::kDouble)
                           .contiguous();
  const double* values = logps.data_ptr<double>();
  for (size_t c = 0; c + 1 < batch.offset.size(); ++c) {
    std::string line;
    for (int64_t i = batch.offset[c]; i < batch.offset[c + 1]; ++i)
      line += (line.empty() ? "" : ", ") + json_number(values[i]);
    std::cout << "[" << line << "]\n";
  }
}

/// The tokens of one row; a row that scores nothing has an empty completion.
Example read_example(const JsonRow& row, const JsonlReader& reader, const Tokenizer* tokenizer,
                     const ModelConfig& config, const DatasetOptions& options) {
  const auto fail = [&](const std::string& problem) {
    throw DataError(cat(reader.where(row.number), ": ", problem));
  };
  if (!row.problem.empty()) fail(row.problem);
  const auto type = detect_type(row.value, options);
  if (!type || *type == RowType::preference || *type == RowType::ranked ||
      *type == RowType::stepwise)
    fail("expected input_ids, prompt and completion, or text");
  if (*type != RowType::input_ids && tokenizer == nullptr)
    fail("the model's folder has no tokenizer.model, so rows must hold input_ids");
  Example example;
  try {
    const RowTexts texts = read_row(row.value, *type, options);
    if (*type == RowType::input_ids && texts.ids.size() == 1)
      example = {.prompt = texts.ids, .completions = {{}}, .row = row.number};
    else
      example = tokenize_row(texts, *type, tokenizer, options).example;
  } catch (const DataError& failure) {
    fail(failure.what());
  }
  if (example.prompt.empty()) fail("no token is scored: the completion is empty");
  const auto length = example.prompt.size() + example.completions.front().size();
  if (static_cast<int64_t>(length) > config.max_position_embeddings)
    fail(cat(length, " tokens; the model's context is ", config.max_position_embeddings));
  for (const auto* ids : {&example.prompt, &example.completions.front()})
    for (const int64_t id : *ids)
      if (id < 0 || id >= config.vocab_size)
        fail(cat("the token id ", id, " is not in the model's vocabulary of ", config.vocab_size));
  return example;
}

void logprobs(const Args& args) {
  const auto model = CausalLM::load(args.model, {.dtype = dtype_of(args.dtype, "--dtype"),
                                                 .device = device_of(args.device, "--device"),
                                                 .batch_invariant = args.batch_invariant});
  std::shared_ptr<const Tokenizer> tokenizer;
  if (std::filesystem::exists(std::filesystem::path(args.model) / "tokenizer.model"))
    tokenizer = Tokenizer::load(args.model);
  DatasetOptions options;
  options.max_length = std::numeric_limits<int32_t>::max();
  options.add_eos = !args.no_eos;
  const Reference reference(model);
  JsonlReader reader(args.rows);
  JsonRow row;
  std::vector<Example> waiting;
  int64_t tokens = 0;
  while (reader.next(row)) {
    Example example = read_example(row, reader, tokenizer.get(), model->config(), options);
    if (tokens + rows_of(example) > args.micro_batch_tokens) {
      print(reference, waiting);
      waiting.clear();
      tokens = 0;
    }
    tokens += rows_of(example);
    waiting.push_back(std::move(example));
  }
  print(reference, waiting);
}

}  // namespace

void add_logprobs(CLI::App& app, Context&) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("logprobs", "Print the log-probs of the tokens of rows");
  verb->add_option("MODEL", args->model, "A Hugging Face model folder")->required();
  verb->add_option(
          "ROWS", args->rows,
          "JSONL: {\"input_ids\": […]} gives tokens 1…n−1; {\"prompt\", \"completion\"} gives the "
          "completion and the end-of-sequence token")
      ->required();
  verb->add_flag("--no-eos", args->no_eos, "Do not append the end-of-sequence token");
  verb->add_option("--dtype", args->dtype, "float32, float64 or bfloat16")->capture_default_str();
  verb->add_option("--device", args->device, "auto, cpu or cuda")->capture_default_str();
  verb->add_flag("--batch-invariant", args->batch_invariant,
                 "The same bits whatever the batch; float32 on the CPU");
  verb->add_option("--micro-batch-tokens", args->micro_batch_tokens, "Tokens run at once")
      ->capture_default_str();
  verb->callback([args] { logprobs(*args); });
}

}  // namespace luce::cli
