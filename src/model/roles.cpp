#include "luce/model/roles.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "luce/base/error.h"

namespace luce {

Trainable::Trainable(std::shared_ptr<Decoder> decoder) : decoder_(std::move(decoder)) {
  for (auto& p : decoder_->parameters()) {
    const auto type = statistics_type(p.work.scalar_type());
    if (p.work.scalar_type() != type) p.master = p.work.to(type);
    p.grad = at::zeros_like(p.master);
    p.work.requires_grad_(true);
  }
}

Trainable::Pass Trainable::forward(const Batch& batch, const Tensor& rows) const {
  Pass pass;
  pass.tokens = batch.tokens;
  // The embedding is read outside the graph: its gradient is an index_add into the buffer, where
  // autograd would first make a dense [V, D] temporary, and a tied output matrix adds to it too.
  pass.embedded = decoder_->embed(batch.tokens).requires_grad_(true);
  pass.hidden = decoder_->trunk_at(rows, pass.embedded, batch.positions, batch.segments());
  return pass;
}

void Trainable::backward(Pass& pass, const Tensor& output, const Tensor& d_output) {
  // Autograd adds in place to a gradient that is there: for f32 and f64 models it is the buffer.
  const bool direct = statistics_type(decoder_->options().dtype) == decoder_->options().dtype;
  for (auto& p : parameters())
    if (direct) p.work.mutable_grad() = p.grad;
  torch::autograd::backward({output}, {d_output});
  const at::NoGradGuard no_grad;
  for (auto& p : parameters()) {
    if (!direct && p.work.grad().defined()) p.grad.add_(p.work.grad());
    p.work.mutable_grad() = Tensor();
  }
  if (pass.embedded.grad().defined()) {
    Tensor& buffer = parameters()[decoder_->embedding_index()].grad;
    buffer.index_add_(0, pass.tokens, pass.embedded.grad().to(buffer.scalar_type()));
  }
  pass = {};
}

void Trainable::zero_gradients() {
  const at::NoGradGuard no_grad;
  for (auto& p : parameters()) p.grad.zero_();
}

Policy::Policy(std::shared_ptr<CausalLM> model) : Trainable(model), model_(std::move(model)) {}

RewardModel::RewardModel(std::shared_ptr<ScoreModel> model)
    : Trainable(model), model_(std::move(model)) {}

HeadStats Policy::score(const Batch& batch, const HeadOptions& options) const {
  const at::NoGradGuard no_grad;
  const Pass pass = forward(batch);
  return head(pass.hidden, model_->head_weight(), batch.targets, options);
}

Tensor Reference::hidden(const Batch& batch) const {
  const at::NoGradGuard no_grad;
  return model_->trunk_at(batch.head_rows, model_->embed(batch.tokens), batch.positions,
                          batch.segments());
}

std::vector<std::pair<std::string, Tensor>> Reference::weights() {
  if (!moving_)
    throw ArgumentError("[Reference] a model that is given as a constant cannot follow a policy");
  const at::NoGradGuard no_grad;
  auto& parameters = moving_->parameters();
  if (master_.empty())
    for (const auto& p : parameters) {
      const Tensor work = p.work.detach();
      master_.push_back(work.to(statistics_type(work.scalar_type())));
    }
  std::vector<std::pair<std::string, Tensor>> out;
  for (size_t i = 0; i < parameters.size(); ++i) out.emplace_back(parameters[i].name, master_[i]);
  return out;
}

void Reference::follow(const Policy& policy, double share) {
  const at::NoGradGuard no_grad;
  const auto& theirs = policy.model().parameters();
  const auto own = weights();
  for (size_t i = 0; i < own.size(); ++i) {
    Tensor master = own[i].second;
    master.mul_(1 - share).add_(theirs[i].master.detach(), share);
    Tensor work = moving_->parameters()[i].work.detach();
    if (work.scalar_type() != master.scalar_type()) work.copy_(master);
  }
}

void Reference::set_weights(const std::vector<std::pair<std::string, Tensor>>& given) {
  const at::NoGradGuard no_grad;
  const auto own = weights();
  for (size_t i = 0; i < own.size(); ++i) {
    const auto& [name, master] = own[i];
    const auto found = std::find_if(given.begin(), given.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (found == given.end() || found->second.sizes() != master.sizes())
      throw DataError(cat("the checkpoint holds the weights of another reference model: \"", name,
                          "\" is missing or of another shape"));
    Tensor(master).copy_(found->second);
    moving_->parameters()[i].work.detach().copy_(master);
  }
}

}  // namespace luce
