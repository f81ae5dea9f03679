#include "luce/loss/registry.h"

#include <algorithm>

#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/sft.h"

namespace luce {

Registry Registry::with_builtins() {
  Registry registry;
  registry.add<Sft>();
  registry.add<Dpo>();
  return registry;
}

void Registry::describe_common(Schema& schema, Common& common) {
  schema.field("type", common.type, "name of the loss").required();
  schema.field("weight", common.weight, "factor of this loss in a mixture");
}

void Registry::add(LossInfo info) {
  for (const auto& known : losses_) {
    const auto taken = [&](const std::string& name) {
      return name == known.name ||
             std::find(known.aliases.begin(), known.aliases.end(), name) != known.aliases.end();
    };
    if (taken(info.name) || std::any_of(info.aliases.begin(), info.aliases.end(), taken))
      throw ArgumentError(cat("[Registry] the name of the loss \"", info.name, "\" is taken by \"",
                              known.name, "\""));
  }
  losses_.push_back(std::move(info));
}

const LossInfo& Registry::find(const std::string& name, const std::string& where) const {
  std::vector<std::string> names;
  for (const auto& info : losses_) {
    if (info.name == name ||
        std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end())
      return info;
    names.push_back(info.name);
  }
  std::string known;
  for (const auto& n : names) known += (known.empty() ? "" : ", ") + n;
  const std::string near = nearest(name, names);
  throw UsageError(cat(where, ": unknown loss \"", name, "\"",
                       near.empty() ? "" : "; did you mean \"" + near + "\"?",
                       near.empty() ? "; known losses: " : " Known losses: ", known));
}

namespace {

/// The "loss" section as a list of objects, each with one type and its own weight.
std::vector<std::pair<std::string, Json>> parts_of(const Registry& registry, const Document& config,
                                                   const std::string& pointer) {
  const Json* section = config.find(pointer);
  if (section == nullptr || section->is_null()) return {};
  std::vector<std::pair<std::string, Json>> parts;
  if (section->is_array()) {
    for (size_t i = 0; i < section->size(); ++i)
      parts.emplace_back(cat(pointer, "/", i), (*section)[i]);
  } else if (section->is_object() && section->contains("type") && section->at("type").is_array()) {
    // TRL's form: types and weights side by side, options shared by the losses that know them.
    const Json& types = section->at("type");
    const Json weights = section->value("weights", Json(std::vector<double>(types.size(), 1.0)));
    if (!weights.is_array() || weights.size() != types.size() ||
        !std::all_of(weights.begin(), weights.end(), [](const Json& w) { return w.is_number(); }))
      throw UsageError(cat(config.where(pointer + "/weights"), ": loss.weights must hold ",
                           types.size(), " numbers, one for each of loss.type"));
    std::vector<std::string> unused;
    for (const auto& [key, value] : section->items())
      if (key != "type" && key != "weights") unused.push_back(key);
    for (size_t i = 0; i < types.size(); ++i) {
      const std::string where = config.where(pointer + "/type");
      if (!types[i].is_string())
        throw UsageError(cat(where, ": loss.type must hold names of losses"));
      const auto known = registry.find(types[i].get<std::string>(), where).schema().names();
      Json part = {{"type", types[i]}, {"weight", weights[i]}};
      for (const auto& [key, value] : section->items())
        if (std::find(known.begin(), known.end(), key) != known.end()) {
          part[key] = value;
          unused.erase(std::remove(unused.begin(), unused.end(), key), unused.end());
        }
      parts.emplace_back("", part);
    }
    if (!unused.empty())
      throw UsageError(cat(config.where(pointer + "/" + unused.front()), ": unknown key \"",
                           unused.front(), "\" in loss: none of its types has such an option"));
  } else {
    parts.emplace_back(pointer, *section);
  }
  for (const auto& [at, part] : parts)
    if (!part.is_object() || !part.contains("type") || !part.at("type").is_string())
      throw UsageError(
          cat(config.where(at.empty() ? pointer : at),
              ": a loss is an object with a \"type\", for example {\"type\": \"dpo\"}"));
  return parts;
}

/// The document and pointer from which a part is loaded: its place in the file where it has one.
std::pair<Document, std::string> source_of(const Document& config, const std::string& pointer,
                                           const std::pair<std::string, Json>& part) {
  if (!part.first.empty()) return {config, part.first};
  return {Document::of(part.second, config.where(pointer)), ""};
}

}  // namespace

std::unique_ptr<SequenceLoss> Registry::make_loss(const Document& config,
                                                  const std::string& pointer) const {
  const auto parts = parts_of(*this, config, pointer);
  if (parts.empty())
    throw UsageError(
        cat(config.where(pointer), ": \"loss\" is missing, for example {\"type\": \"dpo\"}"));
  std::vector<LossMix::Part> losses;
  for (const auto& part : parts) {
    const auto [document, at] = source_of(config, pointer, part);
    const auto& info =
        find(part.second.at("type").get<std::string>(), document.where(at + "/type"));
    losses.push_back({info.make(document, at), part.second.value("weight", 1.0)});
  }
  if (losses.size() == 1 && losses.front().weight == 1.0) return std::move(losses.front().loss);
  return std::make_unique<LossMix>(std::move(losses));
}

Json Registry::resolve_loss(const Document& config, const std::string& pointer) const {
  Json out = Json::array();
  for (const auto& part : parts_of(*this, config, pointer)) {
    const auto& info = find(part.second.at("type").get<std::string>(), config.where(pointer));
    Json entry = {{"type", info.name}, {"weight", part.second.value("weight", 1.0)}};
    entry.update(info.schema().dump());
    for (const auto& [key, value] : part.second.items())
      if (key != "type") entry[key] = value;
    out.push_back(std::move(entry));
  }
  return out.size() == 1 ? out.front() : out;
}

}  // namespace luce
