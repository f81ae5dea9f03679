// Log-probs of a frozen model, computed once for all rows.
#include <ATen/ATen.h>

#include "luce/train/offline_task.h"

namespace luce {

uint64_t content_key(const Example& example) {
  uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a over the ids, with the cuts between the parts
  const auto mix = [&](uint64_t word) {
    for (int byte = 0; byte < 8; ++byte)
      hash = (hash ^ ((word >> (8 * byte)) & 0xFF)) * 0x100000001b3U;
  };
  const auto part = [&](const std::vector<int64_t>& ids) {
    mix(ids.size());
    for (const int64_t id : ids) mix(static_cast<uint64_t>(id));
  };
  part(example.prompt);
  for (const auto& c : example.completions) part(c);
  return hash;
}

PrecomputedLogps precompute_logps(const Reference& reference, const std::vector<Example>& rows,
                                  const OfflineOptions& options) {
  PrecomputedLogps out;
  std::vector<const Example*> waiting;
  int64_t tokens = 0;
  const auto flush = [&] {
    if (waiting.empty()) return;
    const Batch batch = make_batch(waiting, options.batch).to(reference.model().options().device);
    const Tensor logps = head(reference.hidden(batch), reference.head_weight(), batch.targets,
                              {.chunk_bytes = options.chunk_bytes})
                             .logps.to(at::kCPU, at::kFloat)
                             .contiguous();
    const float* values = logps.data_ptr<float>();
    const auto units = batch.units();
    for (size_t q = 0; q < waiting.size(); ++q)
      out[content_key(*waiting[q])].assign(values + units[q], values + units[q + 1]);
    waiting.clear();
    tokens = 0;
  };
  for (const auto& row : rows) {
    const int64_t more = rows_of(row, options.batch);
    if (tokens + more > options.micro_batch_tokens) flush();
    waiting.push_back(&row);
    tokens += more;
  }
  flush();
  return out;
}

}  // namespace luce
