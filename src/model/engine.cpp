// Continuous batching. Every step is one pass over the newest token of each sequence and the
// prompts that are read for the first time, and one draw at every sequence.
#include "luce/model/engine.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "luce/base/error.h"
#include "luce/base/random.h"
#include "luce/ops/draw.h"
#include "model/page_cache.h"
#include "model/sampling_checks.h"
#include "model/stop_texts.h"

namespace luce {
namespace {

/// Prompt tokens of one pass, unless a single prompt has more.
constexpr int64_t kPromptTokens = 16384;

/// A prompt that was read, until all its samples have begun.
struct Reading {
  size_t request;
  std::vector<int64_t> pages;
  std::vector<Tensor> hidden;  // [1, D] of every model, behind its last token
  int64_t begun = 0;
};

/// A sequence that is being sampled.
struct Slot {
  size_t request, sample;
  int64_t limit;                // of new tokens
  std::vector<int64_t> tokens;  // the prompt and what was drawn
  std::vector<int64_t> pages;
  int64_t cached = 0;  // positions in them
};

class Run {
 public:
  Run(std::vector<const CausalLM*> models, double second_weight,
      const std::vector<SampleRequest>& requests, const SampleOptions& o)
      : models_(std::move(models)),
        second_weight_(second_weight),
        requests_(requests),
        o_(o),
        random_(o.seed, Purpose::sample),
        stops_(o.tokenizer, o.stop),
        ends_(models_[0]->config().eos_token_ids) {
    ends_.insert(ends_.end(), o.stop_tokens.begin(), o.stop_tokens.end());
    for (const auto* model : models_) {
      caches_.emplace_back(*model);
      context_ = std::min(context_, model->config().max_position_embeddings);
    }
    check_requests(requests_, models_[0]->config(), context_);
    ledger_.expect(most_pages());
  }

  std::vector<std::vector<Sample>> operator()() {
    for (const auto& request : requests_)
      out_.emplace_back(static_cast<size_t>(request.num_samples));
    while (!slots_.empty() || next_ < requests_.size() || !reading_.empty()) {
      const size_t going = slots_.size(), read = reading_.size();
      admit();
      pass(going, read);
      begin(going);
      draw();
    }
    return std::move(out_);
  }

  EngineUse use() const { return {prompt_tokens_, new_tokens_, steps_, ledger_.peak_bytes()}; }

 private:
  /// The lists on the device of the models, in one transfer.
  std::vector<Tensor> on_device(const std::vector<std::vector<int64_t>>& lists) const {
    std::vector<int64_t> all, sizes;
    for (const auto& list : lists) {
      all.insert(all.end(), list.begin(), list.end());
      sizes.push_back(static_cast<int64_t>(list.size()));
    }
    return at::tensor(all, at::kLong).to(models_[0]->options().device).split_with_sizes(sizes);
  }

  /// Fills free slots with samples of prompts that were read, then of further prompts.
  void admit() {
    int64_t tokens = 0;
    const auto samples_left = [&](const Reading& r) {
      return requests_[r.request].num_samples - r.begun;
    };
    for (size_t i = 0; static_cast<int64_t>(slots_.size()) < o_.max_batch; ++i) {
      if (i == reading_.size()) {
        if (next_ == requests_.size()) return;
        const auto length = static_cast<int64_t>(requests_[next_].prompt.size());
        if (tokens > 0 && tokens + length > kPromptTokens) return;
        tokens += length;
        reading_.push_back({next_++, {}, {}});
      }
      Reading& r = reading_[i];
      const auto& request = requests_[r.request];
      const auto room = o_.max_batch - static_cast<int64_t>(slots_.size());
      for (int64_t n = std::min(room, samples_left(r)); n > 0; --n)
        slots_.push_back(
            {r.request, static_cast<size_t>(r.begun++), limit(request), request.prompt, {}});
    }
  }

  /// Pages that are in use at once, if every sequence runs to its limit.
  int64_t most_pages() const {
    int64_t samples = 0, longest = 0;
    for (const auto& request : requests_) {
      const auto length = static_cast<int64_t>(request.prompt.size());
      samples += request.num_samples;
      longest = std::max(longest, length + limit(request));
    }
    // One more a sequence: a prompt's pages are there until all its samples have begun.
    const int64_t each = (longest + kPagePositions - 1) / kPagePositions + 1;
    return std::min(samples, o_.max_batch) * each;
  }

  int64_t limit(const SampleRequest& request) const {
    return std::min(request.max_new_tokens.value_or(o_.max_new_tokens),
                    context_ - static_cast<int64_t>(request.prompt.size()));
  }

  /// Rows of a pass and where their keys and values go.
  struct Rows {
    std::vector<int64_t> tokens, positions, page, offset, read_at;
    void add(int64_t token, int64_t position, const std::vector<int64_t>& pages) {
      tokens.push_back(token);
      positions.push_back(position);
      page.push_back(pages[static_cast<size_t>(position / kPagePositions)]);
      offset.push_back(position % kPagePositions);
    }
    int64_t count() const { return static_cast<int64_t>(tokens.size()); }
  };

  /// Runs the newest tokens of the first `going` slots, and prompts from number `read` on.
  void pass(size_t going, size_t read) {
    Rows rows;
    for (size_t i = 0; i < going; ++i) {
      Slot& s = slots_[i];
      if (s.cached % kPagePositions == 0) s.pages.push_back(ledger_.take());
      rows.read_at.push_back(rows.count());
      rows.add(s.tokens.back(), s.cached++, s.pages);
    }
    std::vector<TreeSegment> segments;
    const int64_t decoded = rows.count();
    for (size_t i = read; i < reading_.size(); ++i) {
      Reading& r = reading_[i];
      const auto& prompt = requests_[r.request].prompt;
      const auto length = static_cast<int64_t>(prompt.size());
      for (int64_t j = 0; j < length; j += kPagePositions) r.pages.push_back(ledger_.take());
      segments.push_back({rows.count() - decoded, length});
      for (int64_t j = 0; j < length; ++j) rows.add(prompt[static_cast<size_t>(j)], j, r.pages);
      rows.read_at.push_back(rows.count() - 1);
      prompt_tokens_ += length;
    }
    hidden_.clear();
    if (rows.count() == 0) return;
    steps_ += going > 0 ? 1 : 0;
    const HostTable host = page_table(going);
    const auto lists = on_device({rows.tokens, rows.positions, rows.page, rows.offset, rows.read_at,
                                  host.pages, host.lengths});
    const Tensor &tokens = lists[0], &positions = lists[1], &page = lists[2], &offset = lists[3],
                 &read_at = lists[4];
    const PageTable table{lists[5].view({-1, host.columns}), lists[6]};
    for (size_t m = 0; m < models_.size(); ++m) {
      const CausalLM& model = *models_[m];
      const AttentionOptions options{.scale = model.attention_scale()};
      const Attend attend = [&](size_t block, const Tensor& q, const Tensor& k, const Tensor& v) {
        const Pages pages = caches_[m].block(block);
        write_pages(pages, page, offset, k, v);
        if (segments.empty()) return paged_attention(q, pages, table, options);
        const auto prompts = [&](const Tensor& t) {
          return t.narrow(0, decoded, t.size(0) - decoded);
        };
        const Tensor own = tree_attention(prompts(q), prompts(k), prompts(v), segments, options);
        if (decoded == 0) return own;
        return at::cat({paged_attention(q.narrow(0, 0, decoded), pages, table, options), own});
      };
      hidden_.push_back(
          model.trunk_at(read_at, model.embed(tokens), positions, attend, Products::thin));
      for (size_t i = read; i < reading_.size(); ++i)
        reading_[i].hidden.push_back(
            hidden_[m].narrow(0, decoded + static_cast<int64_t>(i - read), 1).clone());
      hidden_[m] = hidden_[m].narrow(0, 0, decoded);
    }
  }

  struct HostTable {
    std::vector<int64_t> pages, lengths;  // [going, columns], [going]
    int64_t columns;
  };
  HostTable page_table(size_t going) const {
    size_t columns = 1;
    for (size_t i = 0; i < going; ++i) columns = std::max(columns, slots_[i].pages.size());
    std::vector<int64_t> pages(going * columns), lengths;
    for (size_t i = 0; i < going; ++i) {
      std::copy(slots_[i].pages.begin(), slots_[i].pages.end(),
                pages.begin() + static_cast<std::ptrdiff_t>(i * columns));
      lengths.push_back(slots_[i].cached);
    }
    return {std::move(pages), std::move(lengths), static_cast<int64_t>(columns)};
  }

  /// Gives the slots from number `going` on the pages of their prompts and its hidden state.
  void begin(size_t going) {
    std::vector<std::vector<Tensor>> hidden(models_.size());
    for (size_t m = 0; m < hidden_.size(); ++m) hidden[m].push_back(hidden_[m]);
    size_t r = 0;
    for (size_t i = going; i < slots_.size(); ++i) {
      Slot& s = slots_[i];
      while (reading_[r].request != s.request) ++r;
      Reading& from = reading_[r];
      s.cached = static_cast<int64_t>(s.tokens.size());
      s.pages = from.pages;
      // The last page is written to, unless it is full.
      const bool last = static_cast<int64_t>(s.sample) + 1 == requests_[s.request].num_samples;
      if (!last) {
        for (const int64_t page : s.pages) ledger_.share(page);
        if (s.cached % kPagePositions != 0) {
          ledger_.release(s.pages.back());
          s.pages.back() = ledger_.copy_of(s.pages.back());
        }
      }
      for (size_t m = 0; m < models_.size(); ++m) hidden[m].push_back(from.hidden[m]);
    }
    std::erase_if(reading_,
                  [&](const Reading& x) { return x.begun == requests_[x.request].num_samples; });
    hidden_.clear();
    for (const auto& parts : hidden)
      hidden_.push_back(parts.size() == 1 ? parts[0] : at::cat(parts));
  }

  /// One token for every slot; those that it ends make room.
  void draw() {
    DrawRows rows;
    for (const Slot& s : slots_) {
      const auto drawn = s.tokens.size() - requests_[s.request].prompt.size();
      rows.uniform.push_back(random_.uniform(o_.step, requests_[s.request].first_sample + s.sample,
                                             static_cast<uint32_t>(drawn)));
      rows.seen.push_back(&s.tokens);
    }
    const HeadSide first{hidden_[0], models_[0]->head_weight(), {}};
    HeadSide second;
    if (models_.size() > 1) second = {hidden_[1], models_[1]->head_weight(), {}};
    const Drawn drawn = luce::draw(first, models_.size() > 1 ? &second : nullptr, rows,
                                   {.temperature = o_.temperature,
                                    .top_k = o_.top_k,
                                    .top_p = o_.top_p,
                                    .min_p = o_.min_p,
                                    .repetition_penalty = o_.repetition_penalty,
                                    .second_weight = second_weight_},
                                   workspace_);
    std::vector<Slot> going;
    for (size_t i = 0; i < slots_.size(); ++i) {
      Slot& s = slots_[i];
      Sample& out = out_[s.request][s.sample];
      s.tokens.push_back(drawn.ids[i]);
      out.ids.push_back(drawn.ids[i]);
      out.logps.push_back(drawn.logps[i]);
      out.tempered.push_back(drawn.tempered[i]);
      out.drawn.push_back(drawn.drawn[i]);
      out.stopped = std::find(ends_.begin(), ends_.end(), drawn.ids[i]) != ends_.end() ||
                    stops_.completed(s.tokens, requests_[s.request].prompt.size());
      ++new_tokens_;
      if (!out.stopped && static_cast<int64_t>(out.ids.size()) < s.limit)
        going.push_back(std::move(s));
      else
        for (const int64_t page : s.pages) ledger_.release(page);
    }
    slots_ = std::move(going);
  }

  std::vector<const CausalLM*> models_;
  double second_weight_;
  const std::vector<SampleRequest>& requests_;
  const SampleOptions& o_;
  Random random_;
  StopTexts stops_;
  std::vector<int64_t> ends_;
  int64_t context_ = std::numeric_limits<int64_t>::max();
  std::vector<PageCache> caches_;
  PageLedger ledger_{caches_};
  std::vector<std::vector<Sample>> out_;
  size_t next_ = 0;  // the first request that was not read
  std::vector<Reading> reading_;
  std::vector<Slot> slots_;
  std::vector<Tensor> hidden_;  // [slots, D] of every model
  DrawWorkspace workspace_;
  int64_t prompt_tokens_ = 0, new_tokens_ = 0, steps_ = 0;
};

}  // namespace

Engine::Engine(std::shared_ptr<const CausalLM> model, Mixture mixture)
    : model_(std::move(model)), mixture_(std::move(mixture)) {
  if (!mixture_.second) return;
  const CausalLM& second = *mixture_.second;
  if (second.config().vocab_size != model_->config().vocab_size)
    throw DataError(cat("the second model of a mixture has a vocabulary of ",
                        second.config().vocab_size, "; the first has one of ",
                        model_->config().vocab_size));
  if (second.options().device != model_->options().device)
    throw UsageError(cat("the second model of a mixture is on ", second.options().device.str(),
                         "; the first is on ", model_->options().device.str()));
  if (!(mixture_.weight > 0) || mixture_.weight > 1)
    throw UsageError(
        cat("the weight of a mixture's second model must be above 0 and at most 1; got ",
            mixture_.weight));
}

std::vector<std::vector<Sample>> Engine::operator()(const std::vector<SampleRequest>& requests,
                                                    const SampleOptions& options,
                                                    EngineUse* use) const {
  const at::NoGradGuard no_grad;
  check_sampling(options, model_->config());
  std::vector<const CausalLM*> models{model_.get()};
  if (mixture_.second) models.push_back(mixture_.second.get());
  Run run(models, mixture_.second ? mixture_.weight : 0, requests, options);
  auto out = run();
  if (use != nullptr) *use = run.use();
  return out;
}

}  // namespace luce
