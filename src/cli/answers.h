// Answers that a policy gives to the prompts of a file.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "luce/model/causal_lm.h"
#include "text_rows.h"

namespace luce::cli {

struct AnswerOptions {
  int64_t count = 1;  // answers to each prompt
  int64_t max_new_tokens = 128, top_k = 0;
  double temperature = 1, top_p = 1;
  uint64_t seed = 42;
  bool other_numbers = false;  // not those of another policy's answers with the same seed
};

/// --n, --max-new-tokens, --seed.
void add_answer_options(CLI::App& verb, AnswerOptions& options);
/// --temperature, --top-k, --top-p.
void add_temperature_options(CLI::App& verb, AnswerOptions& options);

/// Each prompt with its answers, as token ids of the policy and as texts: scorers read texts with
/// their own tokens, as in training.
struct Answers {
  std::vector<Example> ids;
  std::vector<TextRow> rows;
};

/// Throws DataError that names a prompt which leaves no room for an answer.
Answers answers_to(const std::vector<PromptRow>& prompts, const CausalLM& policy,
                   const Tokenizer& tokenizer, const AnswerOptions& options);

}  // namespace luce::cli
