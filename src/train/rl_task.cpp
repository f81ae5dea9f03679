#include "luce/train/rl_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/random.h"
#include "train/rl_values.h"

namespace luce {
namespace {

/// Host values of the tokens of some completions, one after the other.
std::vector<double> gathered(const std::vector<double>& values, const Rollout& rollout,
                             const std::vector<int64_t>& completions) {
  std::vector<double> out;
  for (const int64_t c : completions)
    append_range(out, values, rollout.offset[as_index(c)], rollout.offset[as_index(c) + 1]);
  return out;
}

Tensor on_device(const std::vector<double>& values, const Tensor& like) {
  return at::tensor(values, at::kDouble).to(like.options());
}

/// Offsets of completions within a range of a batch's targets. The range cuts completions only
/// where the loss allows it.
std::vector<int64_t> offsets_in(const std::vector<int64_t>& offset, Range range) {
  std::vector<int64_t> out{0};
  for (const int64_t at : offset)
    if (at > range.begin && at < range.end) out.push_back(at - range.begin);
  out.push_back(range.end - range.begin);
  return out;
}

}  // namespace

RlTask::RlTask(Policy policy, std::optional<Reference> reference, std::optional<Critic> critic,
               std::unique_ptr<Algorithm> algorithm, std::unique_ptr<RolloutStream> rollouts,
               std::unique_ptr<RolloutSource> eval, const RlOptions& options)
    : policy_(std::move(policy)),
      reference_(std::move(reference)),
      critic_(std::move(critic)),
      algorithm_(std::move(algorithm)),
      rollouts_(std::move(rollouts)),
      eval_(std::move(eval)),
      options_(options) {
  const AlgorithmNeeds needs = algorithm_->needs();
  if (needs.reference && !reference_)
    throw ArgumentError("[RlTask] this algorithm needs a reference model");
  if (needs.values && !critic_) throw ArgumentError("[RlTask] this algorithm needs a value model");
  const int64_t generations = rollouts_->source().options().generations;
  if (generations < needs.least_group)
    throw UsageError(cat("this algorithm compares at least ", needs.least_group,
                         " completions of a prompt; rollout.num_generations is ", generations));
}

std::vector<Companion> RlTask::companions() {
  if (!critic_) return {};
  return {{.name = "value",
           .parameters = &critic_->parameters(),
           .learning_rate = value_learning_rate_}};
}

int64_t RlTask::steps_per_epoch() const {
  const int64_t rollouts = rollouts_->source().options().prompts;
  const auto prompts = static_cast<int64_t>(rollouts_->source().prompts().size());
  return (prompts + rollouts - 1) / rollouts * updates_a_rollout();
}

HeadOptions RlTask::head_options() {
  return {.chunk_bytes = options_.chunk_bytes,
          .max_chunk_bytes = options_.max_chunk_bytes,
          .entropy = true,
          .logits = {.temperature = options_.temperature},
          .workspace = workspace_.get()};
}

std::vector<RlTask::Piece> RlTask::pieces_of(const std::vector<int64_t>& groups) const {
  std::vector<Piece> out;
  for (const int64_t q : groups) {
    const RolloutGroup& group = collected_.groups[as_index(q)];
    const Prompt& prompt = rollouts_->source().prompts()[as_index(group.prompt)];
    const auto prompt_rows = static_cast<int64_t>(prompt.ids.size());
    int64_t rows = 0;
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const auto more = static_cast<int64_t>(group.samples[i].ids.size());
      // Too many for one pass: the rest runs its prompt again.
      if (i == 0 || rows + more > options_.micro_batch_tokens) {
        out.push_back({.example = {.prompt = prompt.ids, .completions = {}, .row = prompt.row},
                       .completions = {}});
        rows = prompt_rows;
      }
      rows += more;
      out.back().example.completions.push_back(group.samples[i].ids);
      out.back().example.roles.push_back(Role::ranked);
      out.back().completions.push_back(rollout_.group[as_index(q)] + static_cast<int64_t>(i));
    }
  }
  return out;
}

std::vector<std::vector<const RlTask::Piece*>> RlTask::micro_batches(
    const std::vector<Piece>& pieces) const {
  std::vector<std::vector<const Piece*>> out;
  int64_t tokens = 0;
  for (const Piece& piece : pieces) {
    const int64_t more = rows_of(piece.example, options_.batch);
    if (out.empty() || tokens + more > options_.micro_batch_tokens) {
      out.emplace_back();
      tokens = 0;
    }
    out.back().push_back(&piece);
    tokens += more;
  }
  return out;
}

Batch RlTask::batch_of(const std::vector<const Piece*>& pieces) const {
  std::vector<const Example*> rows;
  for (const Piece* piece : pieces) rows.push_back(&piece->example);
  return make_batch(rows, options_.batch).to(policy_.model().options().device);
}

Step RlTask::next(int64_t step) {
  const int64_t updates = updates_a_rollout(), rollout = step / updates, update = step % updates;
  if (collected_.index != rollout || collected_.groups.empty()) {
    Metrics metrics;
    begin(rollouts_->next(rollout, policy_.model()), metrics);
    pending_metrics_ = std::move(metrics);
  }
  is_first_update_ = update == 0;
  const int64_t minibatches = algorithm_->minibatches();
  const auto groups = static_cast<int64_t>(collected_.groups.size());
  std::vector<int64_t> order;
  for (int64_t q = 0; q < groups; ++q) order.push_back(q);
  if (minibatches > 1)  // another cut of the rollout in each pass
    order =
        Random(options_.seed, Purpose::shuffle)
            .permutation(static_cast<uint64_t>(step / minibatches) + (uint64_t{1} << 32), groups);
  const int64_t part = step % minibatches;
  const std::vector<int64_t> mine(order.begin() + groups * part / minibatches,
                                  order.begin() + groups * (part + 1) / minibatches);
  pieces_ = pieces_of(mine);
  micro_ = micro_batches(pieces_);
  std::vector<int64_t> completions;
  for (const Piece& piece : pieces_)
    completions.insert(completions.end(), piece.completions.begin(), piece.completions.end());
  weights_ = token_weights(rollout_, advantages_, completions, algorithm_->aggregation(),
                           options_.max_completion_length);
  if (critic_) {
    value_weights_.assign(as_index(rollout_.num_tokens()), 0);
    double count = 0;
    const auto for_targets = [&](const auto& fn) {
      for (const int64_t c : completions)
        for (int64_t t = rollout_.offset[as_index(c)]; t < rollout_.offset[as_index(c) + 1]; ++t)
          if (advantages_.trained[as_index(c)] && !std::isnan(advantages_.returns[as_index(t)]))
            fn(as_index(t));
    };
    for_targets([&](size_t) { count += 1; });
    for_targets([&](size_t t) { value_weights_[t] = 1 / count; });
  }
  Step out;
  out.is_first = step == 0;
  for (const auto& pieces : micro_) {
    out.micro_batches.emplace_back();
    for (const Piece* piece : pieces) out.micro_batches.back().push_back(&piece->example);
  }
  for (const int64_t q : mine)
    out.rows.push_back(
        rollouts_->source().prompts()[as_index(collected_.groups[as_index(q)].prompt)].row);
  return out;
}

void RlTask::accumulate(const Step& step, size_t index, Metrics& metrics) {
  metrics.merge(std::exchange(pending_metrics_, {}));
  const AlgorithmNeeds needs = algorithm_->needs();
  const Batch batch = batch_of(micro_[index]);
  std::vector<int64_t> completions;
  for (const Piece* piece : micro_[index])
    completions.insert(completions.end(), piece->completions.begin(), piece->completions.end());
  auto pass = policy_.forward(batch);
  const Tensor hidden = pass.hidden.detach();
  Tensor d_hidden = at::zeros_like(pass.hidden);
  const auto type = statistics_type(hidden.scalar_type());
  const Tensor like = at::empty({0}, hidden.options().dtype(type));
  const auto values_of = [&](const std::vector<double>& all) {
    return all.empty() ? Tensor() : on_device(gathered(all, rollout_, completions), like);
  };
  const Tensor advantages = values_of(advantages_.advantages), old = values_of(rollout_.old_logps),
               reference = values_of(rollout_.ref_logps), weights = values_of(weights_),
               importance = values_of(importance_);
  const auto cut = [](const Tensor& t, Range r) {
    return t.defined() ? t.narrow(0, r.begin, r.end - r.begin) : t;
  };
  const bool watch_ratio = is_first_update_ && is_on_policy_;
  if (index == 0) first_gap_ = 0;

  if (critic_)
    critic_->backward(batch, hidden, d_hidden, [&](const Tensor& values) {
      const at::AutoGradMode grad(true);
      const Tensor leaf = values.to(type).detach().requires_grad_(true);
      const Tensor value_weights = values_of(value_weights_);
      const Tensor each =
          algorithm_->value_loss({leaf, values_of(rollout_.values),
                                  values_of(advantages_.returns).nan_to_num(0), value_weights},
                                 metrics);
      const Tensor loss = (each * value_weights).sum(at::kDouble);
      metrics.add("loss", loss.item<double>(), 0);
      return torch::autograd::grad({loss}, {leaf}).front();
    });

  const HeadLoss fn = [&](const HeadStats& stats, Range range) {
    const at::AutoGradMode grad(true);
    const Tensor logps = stats.logps.detach().requires_grad_(true);
    Tensor entropy;
    if (needs.entropy) entropy = stats.entropy.detach().requires_grad_(true);
    const Tensor w = cut(weights, range);
    const Tensor each = (*algorithm_)({.logps = {logps, offsets_in(batch.offset, range)},
                                       .old_logps = cut(old, range),
                                       .ref_logps = cut(reference, range),
                                       .advantages = cut(advantages, range),
                                       .entropy = entropy,
                                       .weights = w,
                                       .importance = cut(importance, range)},
                                      metrics);
    // Tokens that are not trained on may hold anything: 0 · ∞ is no 0.
    const Tensor loss = at::where(w.eq(0), at::zeros_like(each), each * w).sum(at::kDouble);
    const double value = loss.item<double>();
    HeadGradients g;
    std::vector<Tensor> leaves{logps};
    if (needs.entropy) leaves.push_back(entropy);
    auto found = torch::autograd::grad({loss}, leaves, {}, {}, false, true);
    g.logps = found[0].defined() ? found[0] : at::zeros_like(logps.detach());
    if (needs.entropy && found[1].defined()) g.entropy = found[1];
    if (!std::isfinite(value) || !at::isfinite(g.logps).all().item<bool>())
      throw SanityError(cat("the loss of rollout ", collected_.index + 1,
                            " is not finite; the model was not updated. A lower learning rate or "
                            "a tighter clip may help"));
    metrics.add("loss", value, 0);
    const Tensor mask = w.ne(0).to(type);
    metrics.add("entropy", (stats.entropy * mask).sum(at::kDouble).item<double>(),
                mask.sum(at::kDouble).item<double>());
    if (watch_ratio && range.end > range.begin)
      first_gap_ = std::max(first_gap_, (stats.logps - cut(old, range)).abs().max().item<double>());
    return g;
  };
  head_backward(hidden, policy_.model().head_weight(), batch.targets, batch.units(needs.couples),
                head_options(), fn, d_hidden, policy_.head_gradient());
  policy_.backward(pass, d_hidden);
  metrics.add("num_tokens", static_cast<double>(batch.num_tokens), 0);
  is_detailed_ = step.detailed;
  if (index + 1 == step.micro_batches.size() && watch_ratio)
    metrics.set("ratio/first_step_max_abs_dev", std::expm1(first_gap_));
}

void RlTask::after_step(int64_t done, Metrics& metrics) {
  algorithm_->after_step(metrics);
  if (options_.sync_steps > 0 && reference_ && done % options_.sync_steps == 0)
    reference_->follow(policy_, options_.mixup_alpha);
  if (!is_detailed_) return;
  std::vector<double> advantages;  // of the first token: of the completion, where it has but one
  for (int64_t c = 0; c < rollout_.num_completions(); ++c)
    advantages.push_back(rollout_.length(c) > 0
                             ? advantages_.advantages[as_index(rollout_.offset[as_index(c)])]
                             : 0);
  options_.log(collected_, rollouts_->source(), advantages, done);
}

Metrics RlTask::evaluate() {
  rollouts_->wait();
  return eval_->all().metrics;
}

Json RlTask::finish() { return rollout_sections(collected_, rollouts_->source().prompts()); }

}  // namespace luce
