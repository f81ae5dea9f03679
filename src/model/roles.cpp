#include "luce/model/roles.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace luce {

Policy::Policy(std::shared_ptr<CausalLM> model) : model_(std::move(model)) {
  for (auto& p : model_->parameters()) {
    const auto type = statistics_type(p.work.scalar_type());
    if (p.work.scalar_type() != type) p.master = p.work.to(type);
    p.grad = at::zeros_like(p.master);
    p.work.requires_grad_(true);
  }
}

Policy::Pass Policy::forward(const Batch& batch) const {
  Pass pass;
  pass.tokens = batch.tokens;
  // The embedding is read outside the graph: its gradient is an index_add into the buffer, where
  // autograd would first make a dense [V, D] temporary, and a tied output matrix adds to it too.
  pass.embedded = model_->embed(batch.tokens).requires_grad_(true);
  pass.hidden = model_->trunk(pass.embedded, batch.positions, batch.segments())
                    .index_select(0, batch.head_rows);
  return pass;
}

void Policy::backward(Pass& pass, const Tensor& d_hidden) {
  // Autograd adds in place to a gradient that is there: for f32 and f64 models it is the buffer.
  const bool direct = statistics_type(model_->options().dtype) == model_->options().dtype;
  for (auto& p : parameters())
    if (direct) p.work.mutable_grad() = p.grad;
  torch::autograd::backward({pass.hidden}, {d_hidden});
  const at::NoGradGuard no_grad;
  for (auto& p : parameters()) {
    if (!direct && p.work.grad().defined()) p.grad.add_(p.work.grad());
    p.work.mutable_grad() = Tensor();
  }
  if (pass.embedded.grad().defined()) {
    Tensor& buffer = parameters()[model_->embedding_index()].grad;
    buffer.index_add_(0, pass.tokens, pass.embedded.grad().to(buffer.scalar_type()));
  }
  pass = {};
}

HeadStats Policy::score(const Batch& batch, const HeadOptions& options) const {
  const at::NoGradGuard no_grad;
  const Pass pass = forward(batch);
  return head(pass.hidden, model_->head_weight(), batch.targets, options);
}

void Policy::zero_gradients() {
  const at::NoGradGuard no_grad;
  for (auto& p : parameters()) p.grad.zero_();
}

Tensor Reference::hidden(const Batch& batch) const {
  const at::NoGradGuard no_grad;
  return model_->trunk(model_->embed(batch.tokens), batch.positions, batch.segments())
      .index_select(0, batch.head_rows);
}

}  // namespace luce
