#include "luce/train/offline_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "train/loss_part.h"
#include "train/mismatched.h"
#include "train/offline_metrics.h"

namespace luce {
namespace {

double total(const Tensor& t) { return t.sum(at::kDouble).item<double>(); }

}  // namespace

OfflineTask::OfflineTask(Policy policy, Frozen frozen, std::unique_ptr<SequenceLoss> loss,
                         std::vector<Example> train, std::vector<Example> eval,
                         const OfflineOptions& options)
    : policy_(std::move(policy)),
      frozen_(std::move(frozen)),
      loss_(std::move(loss)),
      rows_(std::move(train), std::move(eval), policy_.model().config(),
            {.batch_size = options.batch_size,
             .micro_batch_tokens = options.micro_batch_tokens,
             .shuffle = options.shuffle,
             .seed = options.seed,
             .batch = options.batch,
             .rows_come_later = options.rows_come_later}),
      options_(options) {
  const Needs needs = loss_->needs();
  if (needs.reference && !frozen_.model && !frozen_.logps)
    throw ArgumentError("[OfflineTask] this loss needs a reference model or its log-probs");
  if (!needs.divergences.empty() && !frozen_.model)
    throw ArgumentError("[OfflineTask] this loss needs the reference's distribution: a model");
  if (needs.mismatched && needs.couples != Coupling::step)
    throw ArgumentError("[OfflineTask] a loss of mismatched answers must couple the step");
  if (!options_.rows_come_later) loss_->check_rows(rows_.train());
  if (options_.probe_rows > 0) {
    const auto& from = rows_.eval().empty() ? rows_.train() : rows_.eval();
    const auto count = std::min(from.size(), static_cast<size_t>(options_.probe_rows));
    probe_.emplace(policy_.model(),
                   std::vector<Example>(from.begin(), from.begin() + static_cast<int64_t>(count)),
                   options_.micro_batch_tokens);
  }
}

HeadOptions OfflineTask::head_options(const Candidates* candidates) {
  return {.chunk_bytes = options_.chunk_bytes,
          .max_chunk_bytes = options_.max_chunk_bytes,
          .entropy = true,
          .log_sum_p2 = loss_->needs().log_sum_p2,
          .greedy_match = true,
          .mean_logit = true,
          .candidates = candidates,
          .workspace = workspace_.get(),
          .use = &head_use_};
}

Batch OfflineTask::batch_of(const RowList& rows) const {
  return make_batch(rows, options_.batch).to(policy_.model().options().device);
}

OfflineTask::ReferenceValues OfflineTask::reference(const Batch& batch, const RowList& rows,
                                                    bool with_logps) const {
  ReferenceValues out;
  if (!loss_->needs().reference) return out;
  if (frozen_.logps) {
    std::vector<float> logps;
    for (const Example* row : rows) {
      const auto found = frozen_.logps->find(content_key(*row));
      if (found == frozen_.logps->end())
        throw ArgumentError(cat("[OfflineTask] no precomputed log-probs for row ", row->row));
      logps.insert(logps.end(), found->second.begin(), found->second.end());
    }
    out.logps = at::tensor(logps, at::kFloat).to(batch.targets.device());
    return out;
  }
  out.hidden = frozen_.model->hidden(batch);
  out.head_weight = frozen_.model->head_weight();
  if (with_logps)
    out.logps = head(out.hidden, out.head_weight, batch.targets,
                     {.chunk_bytes = options_.chunk_bytes, .workspace = workspace_.get()})
                    .logps;
  return out;
}

std::optional<Candidates> OfflineTask::candidates_of(const RowList& rows,
                                                     const Batch& batch) const {
  if (!loss_->needs().candidates) return std::nullopt;
  Candidates out{.offset = {0}, .ids = {}};
  std::vector<int64_t> ids;
  for (const Example* row : rows)
    for (size_t k = 0; k < row->completions.size(); ++k) {
      std::vector<std::vector<int64_t>> tokens(row->completions[k].size());
      if (row->role(k) != Role::mismatched) loss_->candidates(*row, k, tokens);
      for (const auto& at_token : tokens) {
        ids.insert(ids.end(), at_token.begin(), at_token.end());
        out.offset.push_back(static_cast<int64_t>(ids.size()));
      }
    }
  if (out.offset.size() != static_cast<size_t>(batch.num_targets()) + 1)
    throw ArgumentError(
        "[SequenceLoss] candidates() must keep one list for each token of a completion");
  out.ids = at::tensor(ids, at::kLong).to(batch.targets.device());
  return out;
}

void OfflineTask::add_exact_kl(const Tensor& hidden, const ReferenceValues& reference,
                               Metrics& metrics) const {
  if (!reference.hidden.defined()) return;
  const Tensor kl = head_divergence(
      {hidden, policy_.model().head_weight()}, {reference.hidden, reference.head_weight},
      {.chunk_bytes = options_.chunk_bytes, .workspace = workspace_.get()});
  metrics.add("kl_data", total(kl), static_cast<double>(kl.numel()));
}

void OfflineTask::add_divergences(const Tensor& hidden, const ReferenceValues& reference,
                                  const Totals& totals, const Tensor& d_hidden, Metrics& metrics) {
  for (const DivergenceTerm& term : loss_->needs().divergences) {
    if (hidden.size(0) == 0) return;
    const LogitOptions logits{.temperature = term.temperature};
    const HeadSide policy{hidden, policy_.model().head_weight(), logits},
        other{reference.hidden, reference.head_weight, logits};
    const DivergenceOptions options{.kind = term.kind,
                                    .beta = term.beta,
                                    .chunk_bytes = options_.chunk_bytes,
                                    .workspace = workspace_.get()};
    const double scale = term.weight / totals.of(term.per);
    const auto type = statistics_type(hidden.scalar_type());
    const Tensor values = d_hidden.defined()
                              ? head_divergence_backward(
                                    policy, other, options,
                                    at::full({hidden.size(0)}, scale, hidden.options().dtype(type)),
                                    d_hidden, policy_.head_gradient())
                              : head_divergence(policy, other, options);
    const double sum = total(values);
    if (!std::isfinite(sum))
      throw SanityError(
          "the divergence from the reference is not finite; the model was not "
          "updated. A lower learning rate may help");
    metrics.add("loss", sum * scale, 0);
    metrics.add("divergence", sum, static_cast<double>(values.numel()));
  }
}

void OfflineTask::accumulate(const Step& step, size_t index, Metrics& metrics) {
  const Needs needs = loss_->needs();
  const bool two_phases = needs.couples == Coupling::step;
  if (two_phases && index == 0) seeds_ = step_gradients(step, metrics);
  const auto& rows = step.micro_batches[index];
  const Batch batch = batch_of(rows);
  ReferenceValues ref;
  if (!two_phases || step.detailed || !needs.divergences.empty())
    ref = reference(batch, rows, needs.logps && !two_phases);
  const auto candidates = candidates_of(rows, batch);
  const Candidates* wanted = candidates ? &*candidates : nullptr;
  auto pass = policy_.forward(batch);
  const Tensor hidden = pass.hidden.detach();
  Tensor d_hidden = at::zeros_like(pass.hidden);
  if (step.detailed) add_exact_kl(hidden, ref, metrics);
  add_divergences(hidden, ref, step.totals, d_hidden, metrics);
  const auto candidate_range = [&](Range range) {
    if (wanted == nullptr) return Range{};
    return Range{wanted->offset[static_cast<size_t>(range.begin)],
                 wanted->offset[static_cast<size_t>(range.end)]};
  };
  const HeadLoss fn = [&](const HeadStats& stats, Range range) {
    if (two_phases) return sliced(seeds_[index], range, candidate_range(range));
    return gradient(part_of(batch, {ref.logps, wanted}, stats, range, cut()), step.totals, &step,
                    metrics);
  };
  HeadOptions options = head_options(wanted);
  if (two_phases)  // the first phase took the statistics
    options.entropy = options.log_sum_p2 = options.greedy_match = options.mean_logit = false;
  if (needs.logps) {
    head_backward(hidden, policy_.model().head_weight(), batch.targets,
                  batch.units(two_phases ? Coupling::token : cut()), options, fn, d_hidden,
                  policy_.head_gradient());
  } else if (step.detailed) {
    const HeadStats stats = head(hidden, policy_.model().head_weight(), batch.targets, options);
    record(part_of(batch, {ref.logps, wanted}, stats, {0, batch.num_targets()}, cut()).inputs,
           stats, metrics);
  }
  policy_.backward(pass, d_hidden);
  metrics.add("num_tokens", static_cast<double>(batch.num_tokens), 0);
  if (index + 1 < step.micro_batches.size()) return;
  if (step.is_first) tell_head_use();
  if (probe_ && step.detailed) probe_->record(policy_.model(), metrics);
}

void OfflineTask::tell_head_use() const {
  log::info("head: at most ", options_.chunk_bytes >> 20, " MiB of logits, ",
            head_use_.rows_per_chunk, " rows a chunk");
  if (head_use_.recomputed_units > 0)
    log::warn(
        "head: ", head_use_.recomputed_units, " of the first step's groups hold more rows ",
        "than that, so that their logits are computed twice; a larger head.chunk_mb avoids it");
}

HeadGradients OfflineTask::gradient(LossPart part, const Totals& totals, const Step* training,
                                    Metrics& metrics) const {
  const bool with_gradient = training != nullptr;
  auto& inputs = part.inputs;
  const auto leaf_of = [&](Tensor& value) {
    return value = value.detach().requires_grad_(with_gradient);
  };
  HeadGradients g;
  double value = 0;
  Terms terms;
  {
    const at::AutoGradMode grad(with_gradient);
    std::vector<Tensor> leaves{leaf_of(inputs.logps.values)};
    if (inputs.candidates) leaves.push_back(leaf_of(inputs.candidates->logps));
    if (training && training->is_first) check_start(inputs, part.rows);
    terms = (*loss_)(inputs, metrics);
    const Tensor loss = reduce(terms, totals);
    value = loss.item<double>();
    if (with_gradient) {
      std::vector<Tensor> found(leaves.size());
      if (loss.requires_grad()) found = torch::autograd::grad({loss}, leaves, {}, {}, false, true);
      for (size_t i = 0; i < leaves.size(); ++i)  // undefined: the loss reads none of these
        if (!found[i].defined()) found[i] = at::zeros_like(leaves[i].detach());
      g.logps = found[0];
      if (inputs.candidates) g.candidate_logps = found[1];
    }
  }
  const auto finite = [](const Tensor& t) {
    return !t.defined() || at::isfinite(t).all().item<bool>();
  };
  if (!std::isfinite(value) || !finite(g.logps) || !finite(g.candidate_logps))
    throw SanityError(
        cat("the loss is not finite on ", named_rows(part.rows),
            " of the data; the model was not updated. A lower learning rate or a look "
            "at these rows may help"));
  metrics.add("loss", value, 0);
  inputs.logps.values = inputs.logps.values.detach();
  record(inputs, part.stats, metrics);
  if (cut() >= Coupling::group) record_displacement(inputs, metrics);
  if (training == nullptr || training->detailed) record_kl_estimates(inputs, metrics);
  if (with_gradient && cut() >= Coupling::sequence)
    add_gradient_weights(inputs, g.logps, totals.of(terms.front().per), metrics);
  return g;
}

LossPart OfflineTask::whole(const RowList& rows, Metrics* kl) {
  const auto wide =
      loss_->needs().mismatched ? with_mismatched(rows, max_length()) : std::vector<Example>();
  std::vector<LossPart> parts;
  for (const auto& some : rows_.micro_batches(wide.empty() ? rows : pointers(wide))) {
    const Batch batch = batch_of(some);
    const auto ref = reference(batch, some, true);
    const auto candidates = candidates_of(some, batch);
    const Candidates* wanted = candidates ? &*candidates : nullptr;
    const at::NoGradGuard no_grad;
    const auto pass = policy_.forward(batch);
    const auto stats =
        head(pass.hidden, policy_.model().head_weight(), batch.targets, head_options(wanted));
    if (kl) add_exact_kl(pass.hidden, ref, *kl);
    parts.push_back(part_of(batch, {ref.logps, wanted}, stats, {0, batch.num_targets()}, cut()));
  }
  return joined(parts);
}

std::vector<HeadGradients> OfflineTask::step_gradients(const Step& step, Metrics& metrics) {
  RowList rows;
  for (const auto& some : step.micro_batches) rows.insert(rows.end(), some.begin(), some.end());
  const LossPart all = whole(rows, nullptr);
  loss_->observe(all.inputs);
  HeadGradients g = gradient(all, step.totals, &step, metrics);
  const auto& [values, offset] = all.inputs.logps;
  std::vector<int64_t> own;  // targets of the rows' own answers
  for (size_t c = 0; c < all.inputs.role.size(); ++c)
    if (all.inputs.role[c] != Role::mismatched)
      for (int64_t m = offset[c]; m < offset[c + 1]; ++m) own.push_back(m);
  if (static_cast<int64_t>(own.size()) < offset.back())
    g.logps = g.logps.index_select(0, at::tensor(own, at::kLong).to(g.logps.device()));
  std::vector<HeadGradients> out;
  Range targets, candidates;
  const auto* offsets = all.inputs.candidates ? &all.inputs.candidates->offset : nullptr;
  size_t before = 0;  // targets of `own` that earlier micro-batches had
  for (const auto& some : step.micro_batches) {
    targets.begin = targets.end;
    candidates.begin = candidates.end;
    for (const Example* row : some)
      for (const auto& completion : row->completions)
        targets.end += static_cast<int64_t>(completion.size());
    for (; offsets && before < static_cast<size_t>(targets.end); ++before) {
      const auto m = static_cast<size_t>(own[before]);
      candidates.end += (*offsets)[m + 1] - (*offsets)[m];
    }
    out.push_back(sliced(g, targets, candidates));
  }
  return out;
}

void OfflineTask::after_step(int64_t done, Metrics& /*metrics*/) {
  if (options_.sync_steps > 0 && frozen_.model && done % options_.sync_steps == 0)
    frozen_.model->follow(policy_, options_.mixup_alpha);
}

TaskState OfflineTask::save() {
  TaskState out{.values = {{"loss", loss_->state()}}, .tensors = {}};
  if (options_.sync_steps > 0 && frozen_.model)
    for (const auto& [name, tensor] : frozen_.model->weights())
      out.tensors.emplace_back("reference." + name, tensor);
  if (out.values["loss"].is_null()) out.values = nullptr;
  return out;
}

void OfflineTask::load(const TaskState& state) {
  loss_->load_state(state.values.is_object() ? state.values.value("loss", Json(nullptr))
                                             : Json(nullptr));
  if (options_.sync_steps == 0 || !frozen_.model) return;
  auto weights = state.tensors;
  for (auto& [name, tensor] : weights)
    if (name.starts_with("reference.")) name.erase(0, std::string("reference.").size());
  frozen_.model->set_weights(weights);
}

int64_t OfflineTask::max_length() const {
  return options_.max_length > 0 ? options_.max_length
                                 : policy_.model().config().max_position_embeddings;
}

Json OfflineTask::finish() {
  if (!probe_) return Json::array();
  return displacement_sections(*probe_, policy_.model(), options_.top_tokens, options_.token_text);
}

Metrics OfflineTask::evaluate() {
  const at::NoGradGuard no_grad;
  Metrics metrics;
  if (probe_) probe_->record(policy_.model(), metrics);
  const auto all = pointers(rows_.eval());
  const Totals totals = totals_of(all);
  const Needs needs = loss_->needs();
  if (needs.couples == Coupling::step) {  // it sees all rows of an evaluation at once
    gradient(whole(all, &metrics), totals, nullptr, metrics);
    metrics.add("loss", 0, 1);
    return metrics;
  }
  for (const auto& rows : rows_.micro_batches(all)) {
    const Batch batch = batch_of(rows);
    const auto ref = reference(batch, rows, needs.logps);
    const auto candidates = candidates_of(rows, batch);
    const Candidates* wanted = candidates ? &*candidates : nullptr;
    const auto pass = policy_.forward(batch);
    const auto stats =
        head(pass.hidden, policy_.model().head_weight(), batch.targets, head_options(wanted));
    const auto part = part_of(batch, {ref.logps, wanted}, stats, {0, batch.num_targets()}, cut());
    if (needs.logps)
      gradient(part, totals, nullptr, metrics);
    else
      record(part.inputs, stats, metrics);
    add_divergences(pass.hidden, ref, totals, {}, metrics);
    add_exact_kl(pass.hidden, ref, metrics);
  }
  metrics.add("loss", 0, 1);
  return metrics;
}

}  // namespace luce
