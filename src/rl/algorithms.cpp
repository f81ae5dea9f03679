#include "luce/rl/algorithms.h"

#include <algorithm>

#include "rl/presets.h"

namespace luce {

Algorithms::Algorithms() {
  add_policy_gradients(*this);
  add_grpo_family(*this);
}

namespace {

bool answers_to(const AlgorithmInfo& info, const std::string& name) {
  return name == info.name ||
         std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end();
}

/// The name in the section, which must be an object that has one.
std::string type_of(const Document& config, const std::string& pointer) {
  const Json* section = config.find(pointer);
  if (section == nullptr || section->is_null())
    throw UsageError(
        cat(config.where(pointer), ": \"algorithm\" is missing, for example {\"type\": \"grpo\"}"));
  if (!section->is_object() || !section->contains("type") || !section->at("type").is_string())
    throw UsageError(
        cat(config.where(pointer),
            ": an algorithm is an object with a \"type\", for example {\"type\": \"grpo\"}"));
  return section->at("type").get<std::string>();
}

}  // namespace

void Algorithms::add(AlgorithmInfo info) {
  for (const auto& known : list_) {
    const auto taken = [&](const std::string& name) { return answers_to(known, name); };
    if (taken(info.name) || std::any_of(info.aliases.begin(), info.aliases.end(), taken))
      throw ArgumentError(cat("[Algorithms] the name of the algorithm \"", info.name,
                              "\" is taken by \"", known.name, "\""));
  }
  list_.push_back(std::move(info));
}

const AlgorithmInfo& Algorithms::find(const std::string& name, const std::string& where) const {
  std::vector<std::string> names;
  for (const auto& info : list_) {
    if (answers_to(info, name)) return info;
    names.push_back(info.name);
  }
  std::string known;
  for (const auto& n : names) known += (known.empty() ? "" : ", ") + n;
  const std::string near = nearest(name, names);
  throw UsageError(
      cat(where, ": unknown algorithm \"", name, "\"",
          near.empty() ? "; known algorithms: " + known : "; did you mean \"" + near + "\"?"));
}

std::unique_ptr<Algorithm> Algorithms::make(const Document& config,
                                            const std::string& pointer) const {
  return find(type_of(config, pointer), config.where(pointer + "/type")).make(config, pointer);
}

Json Algorithms::resolve(const Document& config, const std::string& pointer) const {
  const auto& info = find(type_of(config, pointer), config.where(pointer + "/type"));
  Json given = *config.find(pointer);
  given.erase("type");
  const Schema schema = info.schema();
  schema.load(Document::of(given, config.where(pointer)));
  Json out = {{"type", info.name}};
  out.update(schema.dump());
  return out;
}

}  // namespace luce
