#include "answers.h"

#include <limits>

#include "luce/base/error.h"
#include "luce/data/tokenizer.h"
#include "luce/model/sampler.h"

namespace luce::cli {

void add_answer_options(CLI::App& verb, AnswerOptions& o) {
  verb.add_option("--n", o.count, "Samples of each prompt")->capture_default_str();
  verb.add_option("--max-new-tokens", o.max_new_tokens, "Most tokens of an answer")
      ->capture_default_str();
  verb.add_option("--seed", o.seed, "Seed of the sampling")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
}

void add_temperature_options(CLI::App& verb, AnswerOptions& o) {
  verb.add_option("--temperature", o.temperature, "Divides the logits; 0 takes the likeliest token")
      ->capture_default_str();
  verb.add_option("--top-k", o.top_k, "Sample among the k likeliest tokens; 0 is all")
      ->capture_default_str();
  verb.add_option("--top-p", o.top_p, "Sample among the likeliest tokens that reach this mass")
      ->capture_default_str();
}

Answers answers_to(const std::vector<PromptRow>& prompts, const CausalLM& policy,
                   const Tokenizer& tokenizer, const AnswerOptions& o) {
  const int64_t context = policy.config().max_position_embeddings;
  std::vector<std::vector<int64_t>> ids;
  for (const auto& [where, text] : prompts) {
    ids.push_back(tokenizer.encode(text, tokenizer.add_bos()));
    if (ids.back().empty())
      throw DataError(cat(where, ": the prompt is empty and this tokenizer adds no BOS"));
    if (static_cast<int64_t>(ids.back().size()) >= context)
      throw DataError(cat(where, ": the prompt has ", ids.back().size(),
                          " tokens; the policy's context is ", context));
  }
  const auto n = static_cast<size_t>(o.count);
  const auto samples = sample(policy, ids,
                              {.max_new_tokens = o.max_new_tokens,
                               .temperature = o.temperature,
                               .top_k = o.top_k,
                               .top_p = o.top_p,
                               .num_samples = o.count,
                               .seed = o.seed,
                               .first_sample = o.other_numbers ? ids.size() * n : 0});
  Answers out;
  for (size_t q = 0; q < ids.size(); ++q) {
    Example example = {.prompt = ids[q], .completions = {}};
    TextRow row{.where = prompts[q].where, .type = RowType::ranked, .texts = {}};
    row.texts.prompt = prompts[q].text;
    for (size_t j = 0; j < n; ++j) {
      example.completions.push_back(samples[q * n + j].ids);
      row.texts.completions.push_back(
          tokenizer.decode_completion(ids[q], example.completions.back()));
    }
    example.roles.assign(n, Role::ranked);
    out.ids.push_back(std::move(example));
    out.rows.push_back(std::move(row));
  }
  return out;
}

}  // namespace luce::cli
