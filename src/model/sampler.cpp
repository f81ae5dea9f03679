#include "luce/model/sampler.h"

#include "luce/base/error.h"
#include "luce/model/engine.h"
#include "model/sampling_checks.h"

namespace luce {

void check_sampling(const SampleOptions& o, const ModelConfig& config) {
  if (!(o.temperature >= 0) || o.top_k < 0 || !(o.top_p > 0) || o.top_p > 1 || o.num_samples < 1 ||
      o.max_new_tokens < 1)
    throw UsageError(
        cat("sampling needs temperature >= 0, top_k >= 0, 0 < top_p <= 1, at least one "
            "sample and one new token; got temperature ",
            o.temperature, ", top_k ", o.top_k, ", top_p ", o.top_p, ", samples ", o.num_samples,
            ", new tokens ", o.max_new_tokens));
  if (!(o.min_p >= 0) || o.min_p >= 1)
    throw UsageError(cat("sampling needs 0 <= min_p < 1; got ", o.min_p));
  if (!(o.repetition_penalty > 0))
    throw UsageError(
        cat("sampling needs a repetition_penalty above 0, 1 for none; got ", o.repetition_penalty));
  if (o.max_batch < 1)
    throw UsageError(
        cat("sampling needs max_batch of at least 1 sequence at once; got ", o.max_batch));
  for (const int64_t id : o.stop_tokens)
    if (id < 0 || id >= config.vocab_size)
      throw UsageError(cat("stop_tokens must be ids of the model's vocabulary of ",
                           config.vocab_size, "; got ", id));
  if (!o.stop.empty() && o.tokenizer == nullptr)
    throw UsageError(
        "sampling with stop texts needs the model's tokenizer, which tells what its tokens say");
  for (const auto& text : o.stop)
    if (text.empty())
      throw UsageError("a stop text is empty, which every completion would hold at once");
}

void check_requests(const std::vector<SampleRequest>& requests, const ModelConfig& config,
                    int64_t context) {
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& prompt = requests[i].prompt;
    if (prompt.empty()) throw DataError(cat("prompt ", i + 1, " is empty: it needs a token"));
    if (static_cast<int64_t>(prompt.size()) >= context)
      throw DataError(cat("prompt ", i + 1, " has ", prompt.size(),
                          " tokens; the model's context is ", context,
                          ", which leaves no room for an answer"));
    for (const int64_t id : prompt)
      if (id < 0 || id >= config.vocab_size)
        throw DataError(cat("prompt ", i + 1, " holds the token id ", id,
                            "; the model's vocabulary has ", config.vocab_size));
    const int64_t new_tokens = requests[i].max_new_tokens.value_or(1);
    if (requests[i].num_samples < 1 || new_tokens < 1)
      throw UsageError(cat("prompt ", i + 1, " needs at least one sample and one new token; got ",
                           requests[i].num_samples, " and ", new_tokens));
  }
}

std::vector<Sample> sample(const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                           const SampleOptions& options) {
  std::vector<SampleRequest> requests;
  for (size_t i = 0; i < prompts.size(); ++i)
    requests.push_back({prompts[i], options.num_samples,
                        options.first_sample +
                            i * static_cast<uint64_t>(std::max<int64_t>(0, options.num_samples))});
  const Engine engine(std::shared_ptr<const CausalLM>(std::shared_ptr<const void>(), &model));
  std::vector<Sample> out;
  for (auto& samples : engine(requests, options))
    for (auto& one : samples) out.push_back(std::move(one));
  return out;
}

}  // namespace luce
