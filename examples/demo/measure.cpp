#include "measure.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/loss/loss.h"
#include "luce/model/roles.h"
#include "luce/model/sampler.h"

namespace luce::demo {
namespace {

/// Summed log-probs of completions after prompts.
std::vector<double> score(const std::shared_ptr<const CausalLM>& model,
                          const std::vector<std::vector<int64_t>>& prompts,
                          const std::vector<std::vector<int64_t>>& completions) {
  const Reference reference(model);
  std::vector<double> out;
  for (size_t begin = 0; begin < prompts.size(); begin += 64) {
    std::vector<Example> rows;
    for (size_t i = begin; i < std::min(prompts.size(), begin + 64); ++i)
      rows.push_back({.prompt = prompts[i],
                      .completions = {completions[i]},
                      .row = static_cast<int64_t>(i) + 1});
    std::vector<const Example*> pointers;
    for (const auto& row : rows) pointers.push_back(&row);
    const Batch batch = make_batch(pointers);
    const auto stats = head(reference.hidden(batch), reference.head_weight(), batch.targets, {});
    const Tensor sums = TokenValues{stats.logps, batch.offset}.sum().contiguous();
    out.insert(out.end(), sums.data_ptr<double>(), sums.data_ptr<double>() + sums.numel());
  }
  return out;
}

}  // namespace

Estimate estimate(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  return {sum / n, std::sqrt(squares / (n - 1) / n)};
}

double nats_per_text(const std::shared_ptr<const CausalLM>& model, const Tokenizer& tokenizer,
                     const std::vector<std::string>& texts) {
  std::vector<std::vector<int64_t>> prompts, rest;
  for (const auto& text : texts) {
    auto ids = tokenizer.encode(text, tokenizer.add_bos());
    ids.push_back(*tokenizer.eos());
    prompts.push_back({ids.front()});
    rest.emplace_back(ids.begin() + 1, ids.end());
  }
  return -estimate(score(model, prompts, rest)).mean;
}

Written write(const CausalLM& model, const Tokenizer& tokenizer,
              const std::vector<std::string>& prompts, int64_t samples, uint64_t seed) {
  std::vector<std::vector<int64_t>> ids;
  for (const auto& prompt : prompts) ids.push_back(tokenizer.encode(prompt, tokenizer.add_bos()));
  Written out;
  for (auto& s :
       sample(model, ids, {.max_new_tokens = 100, .num_samples = samples, .seed = seed})) {
    out.prompts.push_back(ids[out.ids.size() / static_cast<size_t>(samples)]);
    out.completions.push_back(tokenizer.decode_completion(out.prompts.back(), s.ids));
    double logp = 0;
    for (const double l : s.logps) logp += l;
    out.logps.push_back(logp);
    out.ids.push_back(std::move(s.ids));
  }
  return out;
}

std::vector<double> log_ratios(const Written& written,
                               const std::shared_ptr<const CausalLM>& reference) {
  auto out = score(reference, written.prompts, written.ids);
  for (size_t i = 0; i < out.size(); ++i) out[i] = written.logps[i] - out[i];
  return out;
}

}  // namespace luce::demo
