// eval kl: how far a policy has moved from a reference.
#include "answers.h"
#include "eval.h"
#include "luce/data/tokenizer.h"
#include "luce/rl/policy_kl.h"
#include "scoring.h"

namespace luce::cli {
namespace {

struct Args {
  std::string policy, reference, prompts, out, dtype = "float32", device = "auto";
  AnswerOptions options;
  int64_t micro_batch_tokens = 16384;
};

void eval_kl(const Args& args) {
  for (const auto& folder : {args.policy, args.reference}) expect_policy(folder);
  const ModelOptions options = {.dtype = dtype_of(args.dtype, "--dtype"),
                                .device = device_of(args.device, "--device")};
  const auto policy = CausalLM::load(args.policy, options);
  const auto reference = CausalLM::load(args.reference, options);
  const auto tokenizer = Tokenizer::load(args.policy);
  const Answers answers = answers_to(read_prompts(args.prompts), *policy, *tokenizer, args.options);
  const auto& rows = answers.ids;
  const auto n = static_cast<size_t>(args.options.count);
  std::vector<const Example*> pointers;
  std::vector<double> tokens;
  for (const auto& row : rows) {
    pointers.push_back(&row);
    for (const auto& answer : row.completions) tokens.push_back(static_cast<double>(answer.size()));
  }
  const auto all = policy_kl(*policy, *reference, pointers, args.micro_batch_tokens);
  // Answers of one prompt are not independent: each prompt's mean counts as one measurement.
  const auto over_prompts = [&](double KlEstimates::*estimate) {
    std::vector<double> means(rows.size());
    for (size_t i = 0; i < all.size(); ++i)
      means[i / n] += all[i].*estimate / static_cast<double>(n);
    return mean_of(means);
  };
  Finding found;
  found.json = {{"policy", args.policy},
                {"reference", args.reference},
                {"samples", args.options.count},
                {"tokens", number(mean_of(tokens).value)}};
  Table table{.title = "KL(policy ‖ reference), nats an answer",
              .columns = {"estimate", "value", "standard error"},
              .rows = {},
              .note = "Over prompts. Exact: the sum over tokens of the KL over the vocabulary."};
  const std::vector<std::pair<std::string, double KlEstimates::*>> kinds = {
      {"exact", &KlEstimates::exact},
      {"k1", &KlEstimates::k1},
      {"k2", &KlEstimates::k2},
      {"k3", &KlEstimates::k3}};
  for (const auto& [name, member] : kinds) {
    const Estimate e = over_prompts(member);
    found.json[name] = estimate(e);
    table.rows.push_back({name, format_number(e.value), format_number(e.error, 2)});
  }
  found.report.title = "KL";
  found.report.facts = {{"policy", args.policy},
                        {"reference", args.reference},
                        {"prompts", std::to_string(rows.size())}};
  found.report.table(table);
  deliver(found, args.out);
}

}  // namespace

void add_eval_kl(CLI::App& eval) {
  auto args = std::make_shared<Args>();
  CLI::App* verb = eval.add_subcommand("kl", "How far a policy has moved from a reference");
  verb->add_option("POLICY", args->policy, "A Hugging Face model folder")->required();
  verb->add_option("REFERENCE", args->reference, "Another one of the same vocabulary")->required();
  verb->add_option("PROMPTS", args->prompts, "JSONL: {\"prompt\": …}")->required();
  args->options.count = 4;
  add_answer_options(*verb, args->options);
  add_out_option(*verb, args->out);
  verb->add_option("--dtype", args->dtype, "float32, float64 or bfloat16")->capture_default_str();
  verb->add_option("--device", args->device, "auto, cpu or cuda")->capture_default_str();
  verb->add_option("--micro-batch-tokens", args->micro_batch_tokens, "Tokens run at once")
      ->capture_default_str();
  verb->callback([args] { eval_kl(*args); });
}

}  // namespace luce::cli
