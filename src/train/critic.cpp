#include "luce/train/critic.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/base/random.h"

namespace luce {

Critic::Critic(std::shared_ptr<ScoreModel> model) : model_(RewardModel(std::move(model))) {
  const ScoreConfig& head = model_->model().score_config();
  if (head.kind != ScoreKind::reward || head.count != 1)
    throw UsageError(cat("a value model has one score at every token; this one is a ",
                         name_of(head.kind), " model with ", head.count,
                         head.count == 1 ? " head" : " heads"));
}

Critic::Critic(const CausalLM& policy, uint64_t seed) {
  const at::NoGradGuard no_grad;
  const int64_t d = policy.config().hidden_size;
  const auto options = at::TensorOptions()
                           .dtype(statistics_type(policy.options().dtype))
                           .device(policy.options().device);
  const Random random(seed, Purpose::init);
  const double deviation = 1 / std::sqrt(static_cast<double>(d + 1));
  std::vector<double> weight;
  for (int64_t i = 0; i < d; ++i)
    weight.push_back(deviation *
                     random.normal(policy.parameters().size(), static_cast<uint64_t>(i), 0));
  const auto add = [&](const std::string& name, const Tensor& values, bool decay) {
    head_.push_back({.name = name,
                     .work = values,
                     .master = values,
                     .grad = at::zeros_like(values),
                     .decay = decay});
  };
  add("value_head.weight", at::tensor(weight, at::kDouble).view({1, d}).to(options), true);
  add("value_head.bias", at::zeros({1}, options), false);
}

const ScoreModel& Critic::model() const {
  if (!model_) throw ArgumentError("[Critic] the value model shares the policy's trunk");
  return model_->model();
}

int64_t Critic::num_parameters() const {
  int64_t count = 0;
  for (const auto& p : model_ ? model_->decoder().parameters() : head_) count += p.work.numel();
  return count;
}

Tensor Critic::head_values(const Tensor& hidden) const {
  const Tensor& weight = head_[0].work;
  return at::addmv(head_[1].work, hidden.to(weight.scalar_type()), weight.view(-1));
}

Tensor Critic::values(const Batch& batch, const Tensor& hidden) const {
  const at::NoGradGuard no_grad;
  if (!model_) return head_values(hidden);
  const auto pass = model_->forward(batch, batch.head_rows);
  return model_->model().scores(pass.hidden).view(-1);
}

void Critic::backward(const Batch& batch, const Tensor& hidden, const Tensor& d_hidden,
                      const std::function<Tensor(const Tensor& values)>& fn) {
  if (model_) {
    auto pass = model_->forward(batch, batch.head_rows);
    const Tensor values = model_->model().scores(pass.hidden);
    const Tensor d_values = fn(values.detach().view(-1));
    model_->backward(pass, values, d_values.to(values.scalar_type()).view_as(values));
    return;
  }
  const at::NoGradGuard no_grad;
  const Tensor d_values = fn(head_values(hidden)).to(head_[0].grad.scalar_type());
  const Tensor wide = hidden.to(d_values.scalar_type());
  head_[0].grad.view(-1).addmv_(wide.t(), d_values);
  head_[1].grad.add_(d_values.sum());
  const Tensor d_rows = at::outer(d_values, head_[0].work.view(-1));
  Tensor(d_hidden).add_(d_rows.to(d_hidden.scalar_type()));
}

}  // namespace luce
