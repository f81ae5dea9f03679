#include <iostream>
#include <limits>

#include "luce/base/error.h"
#include "luce/data/metrics_file.h"
#include "luce/data/tokenizer.h"
#include "luce/model/sampler.h"
#include "verbs.h"

namespace luce::cli {
namespace {

struct Args {
  std::string model, dtype = "float32", device = "auto";
  bool batch_invariant = false;
  std::vector<std::string> prompts;
  SampleOptions options;
  bool json = false;
};

void generate(const Args& args) {
  const auto model = CausalLM::load(args.model, {.dtype = dtype_of(args.dtype, "--dtype"),
                                                 .device = device_of(args.device, "--device"),
                                                 .batch_invariant = args.batch_invariant});
  const auto tokenizer = Tokenizer::load(args.model);
  std::vector<std::vector<int64_t>> prompts;
  for (const auto& text : args.prompts) {
    prompts.push_back(tokenizer->encode(text, tokenizer->add_bos()));
    if (prompts.back().empty())
      throw UsageError("--prompt is empty and this tokenizer adds no BOS token: give some text");
  }
  const auto samples = sample(*model, prompts, args.options);
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto& s = samples[i];
    const auto& prompt = prompts[i / static_cast<size_t>(args.options.num_samples)];
    const std::string text = tokenizer->decode_completion(prompt, s.ids);
    if (!args.json) {
      std::cout << text << "\n";
      continue;
    }
    std::string logps;
    for (const double logp : s.logps) logps += (logps.empty() ? "" : ", ") + json_number(logp);
    std::cout << "{\"prompt\": "
              << Json(args.prompts[i / static_cast<size_t>(args.options.num_samples)]).dump()
              << ", \"completion\": " << Json(text).dump() << ", \"ids\": " << Json(s.ids).dump()
              << ", \"logps\": [" << logps << "], \"finish_reason\": \""
              << (s.stopped ? "stop" : "length") << "\"}\n";
  }
}

}  // namespace

void add_generate(CLI::App& app, Context&) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = app.add_subcommand("generate", "Continue a prompt");
  auto& o = args->options;
  verb->add_option("MODEL", args->model, "A Hugging Face model folder")->required();
  verb->add_option("--prompt", args->prompts, "Text to continue; may be given several times")
      ->required()
      ->allow_extra_args(false);
  verb->add_option("--max-new-tokens", o.max_new_tokens, "Most tokens to add")
      ->capture_default_str();
  verb->add_option("--temperature", o.temperature,
                   "Divides the logits; 0 takes the likeliest token")
      ->capture_default_str();
  verb->add_option("--top-k", o.top_k, "Sample among the k likeliest tokens; 0 is all")
      ->capture_default_str();
  verb->add_option("--top-p", o.top_p, "Sample among the likeliest tokens that reach this mass")
      ->capture_default_str();
  verb->add_option("--n", o.num_samples, "Samples of each prompt")->capture_default_str();
  verb->add_option("--seed", o.seed, "Seed of the sampling")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  verb->add_option("--dtype", args->dtype, "float32, float64 or bfloat16")->capture_default_str();
  verb->add_option("--device", args->device, "auto, cpu or cuda")->capture_default_str();
  verb->add_flag("--batch-invariant", args->batch_invariant,
                 "The same bits whatever the batch; float32 on the CPU");
  verb->add_flag("--json", args->json,
                 "One JSON object a sample: text, ids, log-probs at temperature 1, finish reason");
  verb->callback([args] { generate(*args); });
}

}  // namespace luce::cli
