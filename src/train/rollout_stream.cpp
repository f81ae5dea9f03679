#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "luce/base/error.h"
#include "luce/train/rl_task.h"

namespace luce {
namespace {

/// Says which rollouts the weights behind some samples had been trained on, where the sampler does
/// not.
CollectedRollout stamped(CollectedRollout rollout, int64_t version) {
  for (auto& group : rollout.groups)
    for (Sample& sample : group.samples)
      if (sample.version < 0) sample.version = version;
  return rollout;
}

}  // namespace

RolloutStream::RolloutStream(RolloutSource source, std::shared_ptr<CausalLM> snapshot,
                             Publish publish, bool ahead)
    : source_(std::move(source)),
      snapshot_(std::move(snapshot)),
      publish_(std::move(publish)),
      ahead_(ahead || snapshot_ != nullptr) {}

void RolloutStream::hand_over(int64_t index, const CausalLM& policy) {
  const at::NoGradGuard no_grad;
  if (publish_) publish_(index, policy);
  if (!snapshot_) return;
  for (size_t i = 0; i < policy.parameters().size(); ++i)
    snapshot_->parameters()[i].work.detach().copy_(policy.parameters()[i].work.detach());
}

void RolloutStream::start(int64_t index, const CausalLM& policy) {
  hand_over(std::max<int64_t>(0, index - 1), policy);
  pending_ = std::async(std::launch::async, [this, index] { return source_.collect(index); });
}

CollectedRollout RolloutStream::next(int64_t index, const CausalLM& policy) {
  if (!ahead_) {
    hand_over(index, policy);
    return stamped(source_.collect(index), index);
  }
  if (pending_.valid()) ready_ = stamped(pending_.get(), index - 1);
  if (!ready_) {  // the first of a run: nothing to overlap with
    start(index, policy);
    ready_ = stamped(pending_.get(), index);
  }
  CollectedRollout out = *std::exchange(ready_, std::nullopt);
  if (out.index != index)
    throw ArgumentError(cat("[RolloutStream] rollouts are asked for in order; got ", index,
                            " where ", out.index, " comes next"));
  start(index + 1, policy);
  return out;
}

Json RolloutStream::save() {
  if (pending_.valid()) {
    const CollectedRollout rollout = pending_.get();
    ready_ = stamped(rollout, rollout.index - 1);
  }
  return {{"cursor", source_.cursor()}, {"ready", ready_ ? ready_->save() : Json(nullptr)}};
}

void RolloutStream::load(const Json& state) {
  if (!state.is_object() || !state.contains("cursor") || !state["cursor"].is_number_integer())
    throw DataError("the checkpoint is not one of online training");
  source_.set_cursor(state["cursor"].get<int64_t>());
  ready_.reset();
  if (state.contains("ready") && !state["ready"].is_null())
    ready_ = CollectedRollout::load(state["ready"]);
}

}  // namespace luce
