#include <ATen/ATen.h>

#include <filesystem>
#include <iostream>
#include <limits>

#include "luce/base/error.h"
#include "luce/data/dataset.h"
#include "luce/data/metrics_file.h"
#include "luce/data/tokenizer.h"
#include "luce/model/roles.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct Args {
  std::string model, rows, dtype = "float32";
  bool no_eos = false;
  int64_t micro_batch_tokens = 16384;
};

void print(const Reference& reference, const std::vector<const Example*>& rows) {
  const Batch batch = make_batch(rows);
  const Tensor logps = head(reference.hidden(batch), reference.head_weight(), batch.targets, {})
                           .logps.to(at::kDouble)
                           .contiguous();
  const double* values = logps.data_ptr<double>();
  for (size_t c = 0; c + 1 < batch.offset.size(); ++c) {
    std::string line;
    for (int64_t i = batch.offset[c]; i < batch.offset[c + 1]; ++i)
      line += (line.empty() ? "" : ", ") + json_number(values[i]);
    std::cout << "[" << line << "]\n";
  }
}

void logprobs(const Args& args) {
  const auto model = CausalLM::load(args.model, {.dtype = dtype_of(args.dtype, "--dtype")});
  std::shared_ptr<const Tokenizer> tokenizer;
  if (std::filesystem::exists(std::filesystem::path(args.model) / "tokenizer.model"))
    tokenizer = Tokenizer::load(args.model);
  DatasetOptions options;
  options.max_length = std::numeric_limits<int32_t>::max();
  options.strict = true;
  options.add_eos = !args.no_eos;
  const Dataset data = load_dataset(args.rows, tokenizer.get(), options);
  if (data.type == RowType::preference)
    throw DataError(cat(args.rows,
                        ": expected rows of input_ids, of prompt and completion, or of text; ",
                        "these are pairs"));
  const auto& config = model->config();
  const Reference reference(model);
  std::vector<const Example*> waiting;
  int64_t tokens = 0;
  for (const auto& row : data.examples) {
    const auto length = row.prompt.size() + row.completions.front().size();
    if (static_cast<int64_t>(length) > config.max_position_embeddings)
      throw DataError(cat(args.rows, ":", row.row, ": ", length, " tokens; the model's context is ",
                          config.max_position_embeddings));
    for (const auto* ids : {&row.prompt, &row.completions.front()})
      for (const int64_t id : *ids)
        if (id < 0 || id >= config.vocab_size)
          throw DataError(cat(args.rows, ":", row.row, ": the token id ", id,
                              " is not in the model's vocabulary of ", config.vocab_size));
    if (tokens + rows_of(row) > args.micro_batch_tokens && !waiting.empty()) {
      print(reference, waiting);
      waiting.clear();
      tokens = 0;
    }
    waiting.push_back(&row);
    tokens += rows_of(row);
  }
  if (!waiting.empty()) print(reference, waiting);
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
  verb->add_option("--micro-batch-tokens", args->micro_batch_tokens, "Tokens run at once")
      ->capture_default_str();
  verb->callback([args] { logprobs(*args); });
}

}  // namespace luce::cli
