// A rollout in the flat form that algorithms see, and in the form that checkpoints keep.
#include <cmath>

#include "luce/base/error.h"
#include "luce/train/rollouts.h"

namespace luce {

Rollout CollectedRollout::flat(const std::vector<double>& reward_weights) const {
  Rollout out;
  out.reward_weights = reward_weights;
  out.reward_parts.resize(reward_weights.size());
  for (const auto& group : groups) {
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const Sample& sample = group.samples[i];
      out.offset.push_back(out.offset.back() + static_cast<int64_t>(sample.ids.size()));
      out.truncated.push_back(!sample.stopped);
      out.rewards.push_back(group.rewards[i]);
      for (size_t k = 0; k < reward_weights.size(); ++k)
        out.reward_parts[k].push_back(group.parts[i][k]);
      for (const StepReward& step : group.steps[i]) {
        if (step.end < 1 || step.end > static_cast<int64_t>(sample.ids.size()) ||
            !std::isfinite(step.value))
          throw DataError(cat("a reward gave ", step.value, " for a step that ends after token ",
                              step.end, " of a completion of ", sample.ids.size(), " tokens"));
        out.token_rewards.resize(static_cast<size_t>(out.offset.back()));
        const int64_t begin = out.offset[out.offset.size() - 2];
        out.token_rewards[static_cast<size_t>(begin + step.end - 1)] += step.value;
      }
    }
    out.group.push_back(out.num_completions());
    out.greedy_rewards.push_back(group.greedy_reward);
  }
  if (!out.token_rewards.empty()) out.token_rewards.resize(static_cast<size_t>(out.num_tokens()));
  return out;
}

Json CollectedRollout::save() const {
  Json list = Json::array();
  for (const auto& group : groups) {
    Json samples = Json::array();
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const Sample& s = group.samples[i];
      Json steps = Json::array();
      for (const StepReward& step : group.steps[i])
        steps.push_back(Json::array({step.end, step.value}));
      samples.push_back({{"ids", s.ids},
                         {"logps", s.logps},
                         {"tempered", s.tempered},
                         {"drawn", s.drawn},
                         {"stopped", s.stopped},
                         {"version", s.version},
                         {"text", group.texts[i]},
                         {"reward", group.rewards[i]},  // NaN is written as null
                         {"parts", group.parts[i]},
                         {"steps", steps}});
    }
    list.push_back(
        {{"prompt", group.prompt}, {"greedy_reward", group.greedy_reward}, {"samples", samples}});
  }
  return {{"index", index}, {"groups", list}};
}

CollectedRollout CollectedRollout::load(const Json& json) {
  const auto number = [](const Json& value) { return value.is_null() ? NAN : value.get<double>(); };
  CollectedRollout out;
  try {
    out.index = json.at("index").get<int64_t>();
    for (const Json& entry : json.at("groups")) {
      RolloutGroup group;
      group.prompt = entry.at("prompt").get<int64_t>();
      group.greedy_reward = number(entry.at("greedy_reward"));
      for (const Json& s : entry.at("samples")) {
        group.samples.push_back({.ids = s.at("ids").get<std::vector<int64_t>>(),
                                 .logps = s.at("logps").get<std::vector<double>>(),
                                 .tempered = s.at("tempered").get<std::vector<double>>(),
                                 .drawn = s.at("drawn").get<std::vector<double>>(),
                                 .stopped = s.at("stopped").get<bool>(),
                                 .version = s.at("version").get<int64_t>()});
        group.texts.push_back(s.at("text").get<std::string>());
        group.rewards.push_back(number(s.at("reward")));
        group.parts.emplace_back();
        for (const Json& part : s.at("parts")) group.parts.back().push_back(number(part));
        group.steps.emplace_back();
        for (const Json& step : s.at("steps"))
          group.steps.back().push_back({step.at(0).get<int64_t>(), step.at(1).get<double>()});
      }
      out.groups.push_back(std::move(group));
    }
  } catch (const Json::exception& failure) {
    throw DataError(cat("the checkpoint holds no rollout: ", failure.what()));
  }
  return out;
}

}  // namespace luce
