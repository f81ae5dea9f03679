// What RlTask keeps in a checkpoint, so that a run goes on in the middle of a rollout.
#include "luce/base/error.h"
#include "luce/train/rl_task.h"

namespace luce {

TaskState RlTask::save() {
  Json values = {{"algorithm", algorithm_->state()}, {"rollouts", rollouts_->save()}};
  values["collected"] = collected_.save();
  Json tokens = Json::object();
  tokens["old_logps"] = rollout_.old_logps;
  tokens["ref_logps"] = rollout_.ref_logps;
  tokens["values"] = rollout_.values;
  tokens["advantages"] = advantages_.advantages;
  tokens["returns"] = advantages_.returns;
  tokens["importance"] = importance_;
  values["tokens"] = std::move(tokens);
  values["counted"] = advantages_.counted;
  values["trained"] = advantages_.trained;
  values["on_policy"] = is_on_policy_;
  TaskState out{.values = std::move(values), .tensors = {}};
  if (options_.sync_steps > 0 && reference_)
    for (const auto& [name, tensor] : reference_->weights())
      out.tensors.emplace_back("reference." + name, tensor);
  return out;
}

void RlTask::load(const TaskState& state) {
  const Json& json = state.values;
  if (!json.is_object() || !json.contains("rollouts") || !json.contains("collected"))
    throw DataError("the checkpoint is not one of online training");
  algorithm_->load_state(json.value("algorithm", Json(nullptr)));
  if (options_.sync_steps > 0 && reference_) {
    auto weights = state.tensors;
    for (auto& [name, tensor] : weights)
      if (name.starts_with("reference.")) name.erase(0, std::string("reference.").size());
    reference_->set_weights(weights);
  }
  rollouts_->load(json["rollouts"]);
  collected_ = CollectedRollout::load(json["collected"]);
  std::vector<double> weights;
  for (const auto& reward : rollouts_->source().rewards().functions())
    weights.push_back(reward.weight);
  rollout_ = collected_.flat(weights);
  try {
    const Json& tokens = json.at("tokens");
    const auto numbers = [&](const char* name) {
      std::vector<double> out;
      for (const Json& v : tokens.at(name)) out.push_back(v.is_null() ? NAN : v.get<double>());
      return out;
    };
    rollout_.old_logps = numbers("old_logps");
    rollout_.ref_logps = numbers("ref_logps");
    rollout_.values = numbers("values");
    advantages_ = {.advantages = numbers("advantages"),
                   .returns = numbers("returns"),
                   .counted = json.at("counted").get<std::vector<bool>>(),
                   .trained = json.at("trained").get<std::vector<bool>>()};
    importance_ = numbers("importance");
    is_on_policy_ = json.at("on_policy").get<bool>();
  } catch (const Json::exception& failure) {
    throw DataError(cat("the checkpoint is not one of online training: ", failure.what()));
  }
}

}  // namespace luce
