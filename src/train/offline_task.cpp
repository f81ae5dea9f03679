#include "luce/train/offline_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/base/random.h"

namespace luce {
namespace {

double total(const Tensor& t) { return t.sum(at::kDouble).item<double>(); }

/// "rows 3, 17 and 20 more"
std::string named(const std::vector<int64_t>& rows) {
  std::string out = rows.size() == 1 ? "row " : "rows ";
  for (size_t i = 0; i < rows.size() && i < 8; ++i) out += cat(i ? ", " : "", rows[i]);
  if (rows.size() > 8) out += cat(" and ", rows.size() - 8, " more");
  return out;
}

std::vector<const Example*> pointers(const std::vector<Example>& rows) {
  std::vector<const Example*> out;
  for (const auto& row : rows) out.push_back(&row);
  return out;
}

}  // namespace

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

OfflineTask::OfflineTask(Policy policy, std::unique_ptr<SequenceLoss> loss,
                         std::vector<Example> train, std::vector<Example> eval,
                         const OfflineOptions& options)
    : policy_(std::move(policy)),
      loss_(std::move(loss)),
      train_(std::move(train)),
      eval_(std::move(eval)),
      options_(options) {
  if (train_.empty()) throw DataError("there are no rows to train on");
  const auto& config = policy_.model().config();
  for (const auto* rows : {&train_, &eval_})
    for (const auto& row : *rows) {
      size_t longest = 0;
      int64_t largest = 0;
      const auto look = [&](const std::vector<int64_t>& ids) {
        for (const int64_t id : ids) largest = id < 0 ? INT64_MAX : std::max(largest, id);
      };
      look(row.prompt);
      for (const auto& c : row.completions) {
        longest = std::max(longest, row.prompt.size() + c.size());
        look(c);
      }
      if (static_cast<int64_t>(longest) > config.max_position_embeddings)
        throw DataError(cat("row ", row.row, " has ", longest, " tokens; the model's context is ",
                            config.max_position_embeddings, ": lower data.max_length"));
      if (largest >= config.vocab_size)
        throw DataError(cat("row ", row.row, " holds the token id ", largest,
                            "; the model's vocabulary has ", config.vocab_size));
    }
}

int64_t OfflineTask::steps_per_epoch() const {
  const auto rows = static_cast<int64_t>(train_.size());
  return (rows + options_.batch_size - 1) / options_.batch_size;
}

Step OfflineTask::next(int64_t step) {
  const auto rows = static_cast<int64_t>(train_.size());
  const int64_t epoch = step / steps_per_epoch();
  const int64_t begin = step % steps_per_epoch() * options_.batch_size;
  std::vector<int64_t> order;
  if (options_.shuffle)
    order = Random(options_.seed, Purpose::shuffle).permutation(static_cast<uint64_t>(epoch), rows);
  std::vector<const Example*> picked;
  Step out;
  for (int64_t i = begin; i < std::min(rows, begin + options_.batch_size); ++i) {
    const int64_t at = options_.shuffle ? order[static_cast<size_t>(i)] : i;
    picked.push_back(&train_[static_cast<size_t>(at)]);
    out.rows.push_back(picked.back()->row);
  }
  out.is_first = step == 0;
  out.totals = totals_of(picked);
  out.micro_batches = micro_batches(picked);
  return out;
}

std::vector<std::vector<const Example*>> OfflineTask::micro_batches(
    const std::vector<const Example*>& rows) const {
  std::vector<std::vector<const Example*>> out;
  int64_t tokens = 0;
  for (const Example* row : rows) {
    const int64_t more = rows_of(*row, options_.batch);
    if (out.empty() || tokens + more > options_.micro_batch_tokens) {
      out.emplace_back();
      tokens = 0;
    }
    out.back().push_back(row);
    tokens += more;
  }
  return out;
}

HeadOptions OfflineTask::head_options() {
  return {.chunk_bytes = options_.chunk_bytes,
          .max_chunk_bytes = options_.max_chunk_bytes,
          .entropy = true,
          .greedy_match = true,
          .mean_logit = true,
          .workspace = workspace_.get(),
          .use = &head_use_};
}

Tensor OfflineTask::exact_kl(const Tensor& hidden, const ReferenceValues& reference) const {
  return head_divergence({hidden, policy_.model().head_weight()},
                         {reference.hidden, reference.head_weight},
                         {.chunk_bytes = options_.chunk_bytes, .workspace = workspace_.get()});
}

Batch OfflineTask::batch_of(const std::vector<const Example*>& rows) const {
  return make_batch(rows, options_.batch).to(policy_.model().options().device);
}

void OfflineTask::accumulate(const Step& step, size_t index, Metrics& metrics) {
  const bool two_phases = loss_->needs().couples == Coupling::step;
  if (two_phases && index == 0) seeds_ = step_gradients(step, metrics);
  const auto& rows = step.micro_batches[index];
  const Batch batch = batch_of(rows);
  const bool wants_kl = step.detailed && loss_->needs().reference;
  const auto ref =
      loss_->needs().reference && (!two_phases || wants_kl) ? reference(batch, rows) : std::nullopt;
  auto pass = policy_.forward(batch);
  Tensor d_hidden = at::zeros_like(pass.hidden);
  if (step.detailed && ref && ref->hidden.defined()) {
    const Tensor kl = exact_kl(pass.hidden, *ref);
    metrics.add("kl_data", total(kl), static_cast<double>(kl.numel()));
  }
  const HeadLoss fn = [&](const HeadStats& stats, Range range) {
    if (two_phases)
      return HeadGradients{.logps = seeds_[index].narrow(0, range.begin, range.end - range.begin)};
    const Part part = part_of(batch, ref, stats, range);
    return HeadGradients{.logps = gradient(part, step.totals, &step, metrics)};
  };
  HeadOptions options = two_phases ? HeadOptions{.chunk_bytes = options_.chunk_bytes,
                                                 .workspace = workspace_.get(),
                                                 .use = &head_use_}
                                   : head_options();
  head_backward(pass.hidden.detach(), policy_.model().head_weight(), batch.targets,
                batch.units(two_phases ? Coupling::token : cut()), options, fn, d_hidden,
                policy_.head_gradient());
  policy_.backward(pass, d_hidden);
  metrics.add("num_tokens", static_cast<double>(batch.num_tokens), 0);
  if (step.is_first && index + 1 == step.micro_batches.size()) tell_head_use();
}

void OfflineTask::tell_head_use() const {
  log::info("head: at most ", options_.chunk_bytes >> 20, " MiB of logits, ",
            head_use_.rows_per_chunk, " rows a chunk");
  if (head_use_.recomputed_units > 0)
    log::warn(
        "head: ", head_use_.recomputed_units, " of the first step's groups hold more rows ",
        "than that, so that their logits are computed twice; a larger head.chunk_mb avoids it");
}

OfflineTask::Part OfflineTask::part_of(const Batch& batch,
                                       const std::optional<ReferenceValues>& ref,
                                       const HeadStats& stats, Range range) const {
  const auto at = [](const std::vector<int64_t>& v, int64_t i) {
    return v[static_cast<size_t>(i)];
  };
  const auto& offset = batch.offset;
  // Completions of the range: of whole groups, or of what a loss that may be cut finer sees of
  // them. Of parts without targets, each goes with the one after it.
  int64_t c0 = 0, c1 = static_cast<int64_t>(batch.role.size());
  if (cut() >= Coupling::group) {
    const auto units = batch.units();
    const auto group_at = [&](int64_t target) {
      return std::lower_bound(units.begin(), units.end(), target) - units.begin();
    };
    c0 = at(batch.group, group_at(range.begin));
    if (range.end < offset.back()) c1 = at(batch.group, group_at(range.end));
  } else {
    const auto first = std::lower_bound(offset.begin(), offset.end(), range.begin);
    c0 = first - offset.begin() - (*first > range.begin ? 1 : 0);
    if (range.end < offset.back())
      c1 = std::lower_bound(offset.begin(), offset.end(), range.end) - offset.begin();
  }
  Part out;
  auto& inputs = out.inputs;
  for (int64_t c = c0; c <= c1; ++c)
    inputs.logps.offset.push_back(std::clamp(at(offset, c), range.begin, range.end) - range.begin);
  inputs.group.push_back(0);
  for (int64_t q = 0; q < batch.num_groups(); ++q) {
    const int64_t begin = std::max(at(batch.group, q), c0),
                  end = std::min(at(batch.group, q + 1), c1);
    if (begin >= end) continue;
    inputs.group.push_back(end - c0);
    out.rows.push_back(at(batch.row, q));
  }
  inputs.role.assign(batch.role.begin() + c0, batch.role.begin() + c1);
  inputs.logps.values = stats.logps.detach();
  if (ref)
    inputs.ref_logps = TokenValues{ref->logps.narrow(0, range.begin, range.end - range.begin),
                                   inputs.logps.offset};
  out.stats = stats;
  return out;
}

Tensor OfflineTask::gradient(Part part, const Totals& totals, const Step* training,
                             Metrics& metrics) const {
  const bool with_gradient = training != nullptr;
  auto& inputs = part.inputs;
  const Tensor plain = inputs.logps.values;
  const at::AutoGradMode grad(with_gradient);
  const Tensor leaf = plain.detach().requires_grad_(with_gradient);
  inputs.logps.values = leaf;
  if (training && training->is_first) check_start(inputs, part.rows);
  const Tensor value = reduce((*loss_)(inputs, metrics), totals);
  Tensor g;
  if (with_gradient) g = torch::autograd::grad({value}, {leaf}, {}, {}, false, true).front();
  if (with_gradient && !g.defined()) g = at::zeros_like(leaf);  // the loss reads none of these
  if (!std::isfinite(value.item<double>()) || (g.defined() && !at::isfinite(g).all().item<bool>()))
    throw SanityError(
        cat("the loss is not finite on ", named(part.rows),
            " of the data; the model was not updated. A lower learning rate or a look "
            "at these rows may help"));
  metrics.add("loss", value.item<double>(), 0);
  inputs.logps.values = plain;
  record(inputs, part.stats, metrics);
  return g;
}

std::vector<Tensor> OfflineTask::step_gradients(const Step& step, Metrics& metrics) {
  std::vector<Part> parts;
  for (const auto& rows : step.micro_batches) {
    const Batch batch = batch_of(rows);
    const auto ref = loss_->needs().reference ? reference(batch, rows) : std::nullopt;
    parts.push_back(
        part_of(batch, ref, policy_.score(batch, head_options()), {0, batch.num_targets()}));
  }
  const Tensor all = gradient(joined(parts), step.totals, &step, metrics);
  std::vector<Tensor> out;
  int64_t begin = 0;
  for (const Part& part : parts) {
    const int64_t targets = part.inputs.logps.offset.back();
    out.push_back(all.narrow(0, begin, targets));
    begin += targets;
  }
  return out;
}

OfflineTask::Part OfflineTask::joined(const std::vector<Part>& parts) {
  Part out;
  out.inputs.group = {0};
  out.inputs.logps.offset = {0};
  std::vector<Tensor> logps, ref_logps;
  std::vector<HeadStats> stats;
  for (const Part& part : parts) {
    const auto& in = part.inputs;
    const auto first = static_cast<int64_t>(out.inputs.role.size());
    const int64_t target = out.inputs.logps.offset.back();
    for (size_t i = 1; i < in.logps.offset.size(); ++i)
      out.inputs.logps.offset.push_back(target + in.logps.offset[i]);
    for (size_t i = 1; i < in.group.size(); ++i) out.inputs.group.push_back(first + in.group[i]);
    out.inputs.role.insert(out.inputs.role.end(), in.role.begin(), in.role.end());
    out.rows.insert(out.rows.end(), part.rows.begin(), part.rows.end());
    logps.push_back(in.logps.values);
    if (in.ref_logps) ref_logps.push_back(in.ref_logps->values);
    stats.push_back(part.stats);
  }
  out.inputs.logps.values = at::cat(logps);
  if (!ref_logps.empty())
    out.inputs.ref_logps = TokenValues{at::cat(ref_logps), out.inputs.logps.offset};
  out.stats = joined_stats(stats);
  return out;
}

Metrics OfflineTask::evaluate() {
  const at::NoGradGuard no_grad;
  Metrics metrics;
  // A loss that couples the step sees all rows of an evaluation at once.
  const bool two_phases = loss_->needs().couples == Coupling::step;
  std::vector<Part> waiting;
  const auto all = pointers(eval_);
  const Totals totals = totals_of(all);
  for (const auto& rows : micro_batches(all)) {
    const Batch batch = batch_of(rows);
    const auto ref = loss_->needs().reference ? reference(batch, rows) : std::nullopt;
    const auto pass = policy_.forward(batch);
    const auto stats =
        head(pass.hidden, policy_.model().head_weight(), batch.targets, head_options());
    const Part part = part_of(batch, ref, stats, {0, batch.num_targets()});
    if (two_phases)
      waiting.push_back(part);
    else
      gradient(part, totals, nullptr, metrics);
    if (ref && ref->hidden.defined()) {
      const Tensor kl = exact_kl(pass.hidden, *ref);
      metrics.add("kl_data", total(kl), static_cast<double>(kl.numel()));
    }
  }
  if (!waiting.empty()) gradient(joined(waiting), totals, nullptr, metrics);
  metrics.add("loss", 0, 1);
  return metrics;
}

void SftTask::record(const GroupInputs& x, const HeadStats& stats, Metrics& metrics) const {
  const auto tokens = static_cast<double>(x.logps.offset.back());
  metrics.add("entropy", total(stats.entropy), tokens);
  metrics.add("mean_token_accuracy", total(stats.greedy_match), tokens);
}

PreferenceTask::PreferenceTask(Policy policy, Frozen frozen, std::unique_ptr<SequenceLoss> loss,
                               std::vector<Example> train, std::vector<Example> eval,
                               const OfflineOptions& options)
    : OfflineTask(std::move(policy), std::move(loss), std::move(train), std::move(eval), options),
      frozen_(std::move(frozen)) {
  if (this->loss().needs().reference && !frozen_.model && !frozen_.logps)
    throw ArgumentError("[PreferenceTask] this loss needs a reference model or its log-probs");
}

std::optional<OfflineTask::ReferenceValues> PreferenceTask::reference(
    const Batch& batch, const std::vector<const Example*>& rows) const {
  ReferenceValues out;
  if (frozen_.logps) {
    std::vector<float> logps;
    for (const Example* row : rows) {
      const auto found = frozen_.logps->find(content_key(*row));
      if (found == frozen_.logps->end())
        throw ArgumentError(cat("[PreferenceTask] no precomputed log-probs for row ", row->row));
      logps.insert(logps.end(), found->second.begin(), found->second.end());
    }
    out.logps = at::tensor(logps, at::kFloat).to(batch.targets.device());
    return out;
  }
  out.hidden = frozen_.model->hidden(batch);
  out.head_weight = frozen_.model->head_weight();
  out.logps = head(out.hidden, out.head_weight, batch.targets,
                   {.chunk_bytes = options().chunk_bytes, .workspace = workspace()})
                  .logps;
  return out;
}

void PreferenceTask::record(const GroupInputs& x, const HeadStats& stats, Metrics& metrics) const {
  const Tensor w = x.with_role(Role::chosen), l = x.with_role(Role::rejected);
  const auto pairs = static_cast<double>(w.numel());
  const Tensor sums = x.logps.sum(), lengths = x.logps.length();
  const Tensor logits = TokenValues{stats.mean_logit, x.logps.offset}.sum();
  for (const auto& [name, role] : {std::pair{"chosen", w}, std::pair{"rejected", l}}) {
    const double tokens = total(lengths.index_select(0, role));
    metrics.add(cat("logps/", name), total(sums.index_select(0, role)), pairs);
    metrics.add(cat("logits/", name), total(logits.index_select(0, role)), tokens);
    metrics.add(cat("completions/", name, "_length"), tokens, pairs);
  }
  metrics.add("entropy", total(stats.entropy), total(lengths));
  const Tensor hits = TokenValues{stats.greedy_match, x.logps.offset}.sum();
  metrics.add("mean_token_accuracy", total(hits.index_select(0, w)),
              total(lengths.index_select(0, w)));
  if (!x.ref_logps) return;
  const Tensor rewards = (sums - x.ref_logps->sum()) * loss().reward_scale();
  const Tensor r_w = rewards.index_select(0, w), r_l = rewards.index_select(0, l);
  metrics.add("rewards/chosen", total(r_w), pairs);
  metrics.add("rewards/rejected", total(r_l), pairs);
  metrics.add("rewards/margins", total(r_w - r_l), pairs);
  metrics.add("rewards/accuracies", total(r_w.gt(r_l)), pairs);  // a tie counts as wrong
}

void PreferenceTask::check_start(const GroupInputs& x, const std::vector<int64_t>& rows) const {
  if (!frozen_.is_start || !x.ref_logps) return;
  const double per_token = policy_dtype() == at::kBFloat16 ? 2e-2 : 1e-4;
  const double beta = loss().reward_scale();
  const Tensor gap = x.logps.sum().detach() - x.ref_logps->sum(), lengths = x.logps.length();
  const Tensor w = x.with_role(Role::chosen), l = x.with_role(Role::rejected);
  for (int64_t i = 0; i < w.numel(); ++i) {
    const auto of = [&](const Tensor& t, const Tensor& role) {
      return t[role[i].item<int64_t>()].item<double>();
    };
    const double margin = beta * (of(gap, w) - of(gap, l));
    const double bound = beta * per_token * (of(lengths, w) + of(lengths, l));
    if (!(std::abs(margin) <= bound))
      throw SanityError(
          cat("before the first update policy and reference are the same weights, so "
              "every margin must be 0; row ",
              rows[static_cast<size_t>(i)], " has margin ", margin,
              ", above the rounding error of ", bound,
              ". If the reference differs on purpose, name its folder in "
              "reference.path; cached log-probs of another model are removed by "
              "emptying data.cache_dir"));
  }
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
