// What the demo measures of a model: how likely stories are to it, what it writes, how far it went.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "luce/data/tokenizer.h"
#include "luce/model/causal_lm.h"

namespace luce::demo {

/// A mean with its standard error.
struct Estimate {
  double mean = 0, error = 0;
};
Estimate estimate(const std::vector<double>& values);

/// Mean negative log-likelihood of texts, end-of-sequence included: nats a text.
double nats_per_text(const std::shared_ptr<const CausalLM>& model, const Tokenizer& tokenizer,
                     const std::vector<std::string>& texts);

/// Completions of prompts, with the log-prob of each under the model that wrote it.
struct Written {
  std::vector<std::string> completions;  // prompts × samples, in order
  std::vector<std::vector<int64_t>> prompts, ids;
  std::vector<double> logps;  // summed, nats
};
Written write(const CausalLM& model, const Tokenizer& tokenizer,
              const std::vector<std::string>& prompts, int64_t samples, uint64_t seed);

/// log π(y) − log π_ref(y) of each completion, in nats: its mean estimates KL(π ‖ π_ref).
std::vector<double> log_ratios(const Written& written,
                               const std::shared_ptr<const CausalLM>& reference);

}  // namespace luce::demo
