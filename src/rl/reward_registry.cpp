#include "luce/rl/reward_registry.h"

#include <algorithm>
#include <optional>

#include "luce/base/error.h"
#include "luce/rl/reward_kinds.h"
#include "luce/rl/reward_models.h"
#include "luce/rl/reward_services.h"

namespace luce {
namespace {

/// The keys that every reward has.
struct Common {
  std::string type;
  double weight = 1;
  std::optional<std::string> name;
};

void describe(Schema& s, Common& o) {
  s.field("type", o.type, "name of the reward function").required();
  s.field("weight", o.weight, "factor of this reward in the sum");
  s.field("name", o.name,
          "its name in metrics and in the rows' column \"reward\"; the type unless given");
}

/// One entry of the section and where it stands.
struct Entry {
  std::string pointer;
  Common common;
};

std::vector<Entry> entries_of(const Document& config, const std::string& pointer) {
  const Json* section = config.find(pointer);
  const auto fail = [&](const std::string& at) {
    throw UsageError(cat(config.where(at),
                         ": a reward is an object with a \"type\", for example {\"type\": "
                         "\"answer\"}; several are a list of such objects"));
  };
  if (section == nullptr || section->is_null() || (section->is_array() && section->empty()))
    throw UsageError(cat(config.where(pointer),
                         ": \"reward\" is missing, for example [{\"type\": \"answer\"}]"));
  std::vector<std::string> pointers;
  if (!section->is_array()) pointers.push_back(pointer);
  for (size_t i = 0; section->is_array() && i < section->size(); ++i)
    pointers.push_back(cat(pointer, "/", i));

  std::vector<Entry> out;
  for (const auto& at : pointers) {
    const Json& given = *config.find(at);
    if (!given.is_object() || !given.contains("type")) fail(at);
    // The common keys alone: the others are those of the type.
    Json keys = Json::object();
    for (const char* key : {"type", "weight", "name"})
      if (given.contains(key)) keys[key] = given[key];
    out.push_back({at, parse_options<Common>(Document::of(keys, config.where(at)))});
  }
  // Names: given ones first, so that none is taken by a type that comes before it.
  std::vector<std::string> taken;
  for (const auto& entry : out) {
    if (!entry.common.name) continue;
    const std::string& name = *entry.common.name;
    if (name.empty() || std::find(taken.begin(), taken.end(), name) != taken.end())
      throw UsageError(cat(config.where(entry.pointer + "/name"), ": the name \"", name, "\" ",
                           name.empty() ? "is empty" : "is that of another reward, too"));
    taken.push_back(name);
  }
  for (auto& entry : out) {
    if (entry.common.name) continue;
    std::string name = entry.common.type;
    for (int n = 2; std::find(taken.begin(), taken.end(), name) != taken.end(); ++n)
      name = cat(entry.common.type, "_", n);
    taken.push_back(name);
    entry.common.name = name;
  }
  return out;
}

}  // namespace

RewardFunctions::RewardFunctions() {
  add<AnswerReward>();
  add<ExactReward>();
  add<NumberReward>();
  add<FormatReward>();
  add<LengthReward>();
  add<OverlongReward>();
  add<CosineReward>();
  add<RepetitionReward>();
  add<JsonReward>();
  add<ModelReward>();
  add<JudgeReward>();
  add<SubprocessReward>();
  add<HttpReward>();
}

void RewardFunctions::load(const Document& document, const std::string& pointer,
                           const std::function<void(Schema&)>& describe_options) {
  Common common;
  const Json* given = document.find(pointer);
  const std::string type = given != nullptr ? given->value("type", "") : "";
  Schema schema("reward \"" + type + "\"");
  describe(schema, common);
  describe_options(schema);
  schema.load(document, pointer);
}

std::shared_ptr<RewardFunction> RewardFunctions::made(
    const Document& document, const std::string& pointer,
    const std::function<std::shared_ptr<RewardFunction>()>& make) {
  try {
    return make();
  } catch (const UsageError& failure) {
    throw UsageError(cat(document.where(pointer), ": ", failure.what()));
  }
}

void RewardFunctions::add(const std::string& name, RewardLambda::Value value) {
  add(RewardInfo{.name = name,
                 .title = "A function of this program",
                 .make =
                     [value = std::move(value)](const Document& document,
                                                const std::string& pointer, const RewardContext&) {
                       load(document, pointer, [](Schema&) {});
                       return std::make_shared<RewardLambda>(value);
                     },
                 .schema = [] { return Schema(); }});
}

void RewardFunctions::add(RewardInfo info) {
  for (const auto& known : infos_)
    if (known.name == info.name)
      throw ArgumentError(cat("[RewardFunctions] the name \"", info.name, "\" is taken"));
  infos_.push_back(std::move(info));
}

const RewardInfo& RewardFunctions::find(const std::string& name, const std::string& where) const {
  std::vector<std::string> names;
  std::string known;
  for (const auto& info : infos_) {
    if (info.name == name) return info;
    names.push_back(info.name);
    known += (known.empty() ? "" : ", ") + info.name;
  }
  const std::string near = nearest(name, names);
  throw UsageError(
      cat(where, ": unknown reward \"", shortened(name), "\"",
          near.empty() ? cat("; known rewards: ", known) : "; did you mean \"" + near + "\"?"));
}

Rewards RewardFunctions::make_rewards(const Document& config, const std::string& pointer,
                                      const RewardContext& context,
                                      const RewardLimits& options) const {
  std::vector<NamedReward> functions;
  for (const auto& [at, common] : entries_of(config, pointer)) {
    const RewardInfo& info = find(common.type, config.where(at + "/type"));
    functions.push_back({*common.name, info.make(config, at, context), common.weight});
  }
  return {std::move(functions), options};
}

Json RewardFunctions::resolve(const Document& config, const std::string& pointer) const {
  Json out = Json::array();
  for (const auto& [at, common] : entries_of(config, pointer)) {
    const RewardInfo& info = find(common.type, config.where(at + "/type"));
    Json entry = {{"type", info.name}, {"weight", common.weight}, {"name", *common.name}};
    entry.update(info.schema().dump());
    for (const auto& [key, value] : config.find(at)->items())
      if (key != "type" && key != "weight" && key != "name") entry[key] = value;
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace luce
