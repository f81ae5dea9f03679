#include "luce/model/sampler.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "luce/base/error.h"
#include "luce/base/random.h"
#include "luce/ops/head.h"

namespace luce {
namespace {

/// Keys and values of B sequences in every block.
class Cache {
 public:
  Cache(const ModelConfig& config, int64_t batch, int64_t capacity, const ModelOptions& options)
      : k_(static_cast<size_t>(config.num_hidden_layers)), v_(k_.size()) {
    for (size_t i = 0; i < k_.size(); ++i)
      for (Tensor* t : {&k_[i], &v_[i]})
        *t = at::zeros({batch, config.num_key_value_heads, capacity, config.head_dim},
                       at::TensorOptions().dtype(options.dtype).device(options.device));
  }
  /// Rows of one prompt, [n, K, d], become the first n places of sequences [first, first + copies).
  void fill(size_t block, int64_t first, int64_t copies, const Tensor& k, const Tensor& v) {
    k_[block]
        .narrow(0, first, copies)
        .narrow(2, 0, k.size(0))
        .copy_(k.transpose(0, 1).unsqueeze(0));
    v_[block]
        .narrow(0, first, copies)
        .narrow(2, 0, v.size(0))
        .copy_(v.transpose(0, 1).unsqueeze(0));
  }
  /// One token per sequence, [B, K, d], at place `at` ([B] i64) of each.
  void append(size_t block, const Tensor& at, const Tensor& k, const Tensor& v) {
    const Tensor place = at.view({-1, 1, 1, 1}).expand({k.size(0), k.size(1), 1, k.size(2)});
    k_[block].scatter_(2, place, k.unsqueeze(2));
    v_[block].scatter_(2, place, v.unsqueeze(2));
  }
  Tensor keys(size_t block, int64_t places) const { return k_[block].narrow(2, 0, places); }
  Tensor values(size_t block, int64_t places) const { return v_[block].narrow(2, 0, places); }
  /// Keeps the listed sequences.
  void keep(const Tensor& which) {
    for (auto* caches : {&k_, &v_})
      for (Tensor& t : *caches) t = t.index_select(0, which);
  }

 private:
  std::vector<Tensor> k_, v_;
};

/// Draws a token from one row of logits [V] by the inverse of the cumulative distribution.
int64_t draw(const float* logits, int64_t v, const SampleOptions& o, double u,
             std::vector<int64_t>& order, std::vector<double>& p) {
  if (o.temperature == 0) return std::max_element(logits, logits + v) - logits;
  order.resize(static_cast<size_t>(v));
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](int64_t a, int64_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  size_t kept = static_cast<size_t>(v);
  if (o.top_k > 0 && o.top_k < v) kept = static_cast<size_t>(o.top_k);
  if (o.top_p < 1)
    std::sort(order.begin(), order.end(), likelier);
  else if (kept < order.size())
    std::nth_element(order.begin(), order.begin() + static_cast<int64_t>(kept) - 1, order.end(),
                     likelier);
  const double largest = *std::max_element(logits, logits + v);
  p.resize(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i)
    total += p[i] = std::exp((static_cast<double>(logits[order[i]]) - largest) / o.temperature);
  if (o.top_p < 1) {  // the likeliest token is always kept
    double mass = 0;
    size_t n = 0;
    while (n < kept && mass < o.top_p * total) mass += p[n++];
    kept = std::max<size_t>(n, 1);
    total = std::accumulate(p.begin(), p.begin() + static_cast<int64_t>(kept), 0.0);
  }
  double remaining = u * total;
  for (size_t i = 0; i < kept; ++i) {
    remaining -= p[i];
    if (remaining < 0) return order[i];
  }
  return order[kept - 1];
}

void check(const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
           const SampleOptions& o) {
  if (!(o.temperature >= 0) || o.top_k < 0 || !(o.top_p > 0) || o.top_p > 1 || o.num_samples < 1 ||
      o.max_new_tokens < 1 || o.max_batch < 1)
    throw UsageError(
        cat("sampling needs temperature >= 0, top_k >= 0, 0 < top_p <= 1, at least one "
            "sample and one new token; got temperature ",
            o.temperature, ", top_k ", o.top_k, ", top_p ", o.top_p, ", samples ", o.num_samples,
            ", new tokens ", o.max_new_tokens));
  const auto& config = model.config();
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty()) throw DataError(cat("prompt ", i + 1, " is empty: it needs a token"));
    if (static_cast<int64_t>(prompts[i].size()) >= config.max_position_embeddings)
      throw DataError(cat("prompt ", i + 1, " has ", prompts[i].size(),
                          " tokens; the model's context is ", config.max_position_embeddings,
                          ", which leaves no room for an answer"));
    for (const int64_t id : prompts[i])
      if (id < 0 || id >= config.vocab_size)
        throw DataError(cat("prompt ", i + 1, " holds the token id ", id,
                            "; the model's vocabulary has ", config.vocab_size));
  }
}

}  // namespace

std::vector<Sample> sample(const CausalLM& model, const std::vector<std::vector<int64_t>>& prompts,
                           const SampleOptions& o) {
  const at::NoGradGuard no_grad;
  check(model, prompts, o);
  const auto& config = model.config();
  const Random random(o.seed, Purpose::sample);
  const Tensor head_weight = model.head_weight();
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return at::tensor(values, at::kLong).to(model.options().device);
  };
  const auto is_stop = [&](int64_t id) {
    return std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), id) !=
           config.eos_token_ids.end();
  };
  std::vector<Sample> out(prompts.size() * static_cast<size_t>(o.num_samples));
  std::vector<int64_t> order;
  std::vector<double> weights;

  const auto per_wave = static_cast<size_t>(std::max<int64_t>(1, o.max_batch / o.num_samples));
  for (size_t wave = 0; wave < prompts.size(); wave += per_wave) {
    const size_t wave_end = std::min(prompts.size(), wave + per_wave);
    int64_t longest = 0;
    for (size_t i = wave; i < wave_end; ++i)
      longest = std::max(longest, static_cast<int64_t>(prompts[i].size()));
    const int64_t capacity = std::min(config.max_position_embeddings, longest + o.max_new_tokens);
    std::vector<size_t> sequence;       // the entry of `out` behind each row
    std::vector<int64_t> length, last;  // tokens in the cache; the newest token, not yet in it

    // Every prompt once, all of them in one ragged pass; its cache is copied to its samples.
    std::vector<int64_t> tokens, positions, last_rows;
    std::vector<TreeSegment> segments;
    for (size_t i = wave; i < wave_end; ++i) {
      segments.push_back(
          {static_cast<int64_t>(tokens.size()), static_cast<int64_t>(prompts[i].size())});
      for (size_t j = 0; j < prompts[i].size(); ++j) positions.push_back(static_cast<int64_t>(j));
      tokens.insert(tokens.end(), prompts[i].begin(), prompts[i].end());
      for (int64_t s = 0; s < o.num_samples; ++s) {
        sequence.push_back(i * static_cast<size_t>(o.num_samples) + static_cast<size_t>(s));
        length.push_back(segments.back().length);
        last_rows.push_back(static_cast<int64_t>(tokens.size()) - 1);
      }
    }
    const auto batch = static_cast<int64_t>(sequence.size());
    Cache cache(config, batch, capacity, model.options());
    Tensor hidden =
        model.trunk(model.embed(on_device(tokens)), on_device(positions),
                    [&](size_t block, const Tensor& q, const Tensor& k, const Tensor& v) {
                      for (size_t i = 0; i < segments.size(); ++i)
                        cache.fill(block, static_cast<int64_t>(i) * o.num_samples, o.num_samples,
                                   k.narrow(0, segments[i].begin, segments[i].length),
                                   v.narrow(0, segments[i].begin, segments[i].length));
                      return tree_attention(q, k, v, segments, {.scale = model.attention_scale()});
                    });
    hidden = hidden.index_select(0, on_device(last_rows));

    while (!sequence.empty()) {
      const Logits head = head_logits(hidden, head_weight);
      const Tensor logits = head.values.to(at::kCPU, at::kFloat).contiguous();
      std::vector<int64_t> going;
      last.resize(sequence.size());
      for (size_t b = 0; b < sequence.size(); ++b) {
        Sample& s = out[sequence[b]];
        const float* row = logits.data_ptr<float>() + static_cast<int64_t>(b) * config.vocab_size;
        const double u =
            random.uniform(0, o.first_sample + sequence[b], static_cast<uint32_t>(s.ids.size()));
        const int64_t id = draw(row, config.vocab_size, o, u, order, weights);
        s.ids.push_back(id);
        s.stopped = is_stop(id);
        last[b] = id;
        if (!s.stopped && static_cast<int64_t>(s.ids.size()) < o.max_new_tokens &&
            length[b] < capacity && length[b] + 1 < config.max_position_embeddings)
          going.push_back(static_cast<int64_t>(b));
      }
      // Subtracted in the dtype of the statistics, so that they are the trainer's to the last bit.
      const Tensor logps =
          (head.values.gather(1, on_device(last).unsqueeze(1)).squeeze(1) - head.lse)
              .to(at::kCPU, at::kDouble);
      for (size_t b = 0; b < sequence.size(); ++b)
        out[sequence[b]].logps.push_back(logps.const_data_ptr<double>()[b]);
      if (going.size() < sequence.size()) {
        for (size_t i = 0; i < going.size(); ++i) {
          const auto b = static_cast<size_t>(going[i]);
          sequence[i] = sequence[b];
          length[i] = length[b];
          last[i] = last[b];
        }
        sequence.resize(going.size());
        length.resize(going.size());
        last.resize(going.size());
        if (going.empty()) break;
        cache.keep(on_device(going));
      }
      const Tensor place = on_device(length);
      for (auto& n : length) ++n;
      const Tensor lengths = on_device(length);
      const int64_t places = *std::max_element(length.begin(), length.end());
      hidden = model.trunk(model.embed(on_device(last)), place,
                           [&](size_t block, const Tensor& q, const Tensor& k, const Tensor& v) {
                             cache.append(block, place, k, v);
                             return cached_attention(q, cache.keys(block, places),
                                                     cache.values(block, places), lengths,
                                                     {.scale = model.attention_scale()});
                           });
    }
  }
  return out;
}

}  // namespace luce
