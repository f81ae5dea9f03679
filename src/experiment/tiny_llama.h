// A language model small enough to train inside an experiment: in f64, so that its numbers do not
// depend on the processor's instruction set beyond their last digits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "luce/loss/loss.h"
#include "luce/model/causal_lm.h"

namespace luce {

/// A Llama of two blocks, 32 wide, with untied matrices and no end-of-sequence token.
std::shared_ptr<CausalLM> tiny_llama(int64_t vocabulary, int64_t context, uint64_t seed);

struct Fit {
  int64_t steps = 100, batch_size = 16;
  double learning_rate = 1e-3;  // constant
  uint64_t seed = 1;            // of the order of rows
  std::function<void(int64_t done)> after_step = {};
};

/// Trains the model on rows; a loss that needs a reference gets a copy of the model as it is now.
void fit(const std::shared_ptr<CausalLM>& model, std::unique_ptr<SequenceLoss> loss,
         const std::vector<Example>& rows, const Fit& options);

/// `new_tokens` tokens after each prompt: the likeliest ones at temperature 0, else drawn by seed.
std::vector<std::vector<int64_t>> continuations(const CausalLM& model,
                                                const std::vector<std::vector<int64_t>>& prompts,
                                                int64_t new_tokens, double temperature,
                                                uint64_t seed);

/// log π of every completion of every row, nats.
std::vector<double> answer_logps(const CausalLM& model, const std::vector<Example>& rows);

}  // namespace luce
