#include "luce/loss/registry.h"

#include <algorithm>

#include "luce/base/error.h"
#include "luce/loss/alphapo.h"
#include "luce/loss/aot.h"
#include "luce/loss/aot_unpaired.h"
#include "luce/loss/apo_down.h"
#include "luce/loss/apo_zero.h"
#include "luce/loss/apo_zero_unpaired.h"
#include "luce/loss/bco.h"
#include "luce/loss/bco_pair.h"
#include "luce/loss/bradley_terry.h"
#include "luce/loss/cpo.h"
#include "luce/loss/discopop.h"
#include "luce/loss/distillation.h"
#include "luce/loss/dpo.h"
#include "luce/loss/exo.h"
#include "luce/loss/generative.h"
#include "luce/loss/hinge.h"
#include "luce/loss/ipo.h"
#include "luce/loss/kto.h"
#include "luce/loss/mix.h"
#include "luce/loss/mixture.h"
#include "luce/loss/nca.h"
#include "luce/loss/orpo.h"
#include "luce/loss/plackett_luce.h"
#include "luce/loss/psi.h"
#include "luce/loss/regression.h"
#include "luce/loss/reward_mixture.h"
#include "luce/loss/reward_outcome.h"
#include "luce/loss/reward_plackett_luce.h"
#include "luce/loss/reward_process.h"
#include "luce/loss/reward_regression.h"
#include "luce/loss/robust.h"
#include "luce/loss/sft.h"
#include "luce/loss/sigmoid_norm.h"
#include "luce/loss/simpo.h"
#include "luce/loss/slic.h"
#include "luce/loss/sppo.h"
#include "luce/loss/tpo.h"
#include "luce/loss/unlikelihood.h"

namespace luce {

Registry Registry::with_builtins() {
  Registry registry;
  registry.add<Sft>();
  registry.add<Dpo>();
  registry.add<Ipo>();
  registry.add<Hinge>();
  registry.add<Slic>();
  registry.add<Unlikelihood>();
  registry.add<Robust>();
  registry.add<Exo>();
  registry.add<Nca>();
  registry.add<BcoPair>();
  registry.add<Sppo>();
  registry.add<Aot>();
  registry.add<AotUnpaired>();
  registry.add<ApoZero>();
  registry.add<ApoDown>();
  registry.add<Discopop>();
  registry.add<SigmoidNorm>();
  registry.add<Simpo>();
  registry.add<AlphaPo>();
  registry.add<Cpo>();
  registry.add<Orpo>();
  registry.add<Tpo>();
  registry.add<Generative>();
  registry.add<Psi>();
  registry.add<Kto>();
  registry.add<ApoZeroUnpaired>();
  registry.add<Bco>();
  registry.add<PlackettLuce>();
  registry.add<Regression>();
  registry.add<Mixture>();
  registry.add<Distillation>();
  registry.add_reward<BradleyTerry>();
  registry.add_reward<RewardPlackettLuce>();
  registry.add_reward<RewardRegression>();
  registry.add_reward<RewardOutcome>();
  registry.add_reward<RewardProcess>();
  registry.add_reward<RewardMixture>();
  return registry;
}

void Registry::describe_common(Schema& schema, Common& common) {
  schema.field("type", common.type, "name of the loss").required();
  schema.field("weight", common.weight, "factor of this loss in a mixture");
}

std::unique_ptr<SequenceLoss> Registry::modified(std::unique_ptr<PairLoss> loss,
                                                 const PairModifiers& modifiers,
                                                 const Document& document,
                                                 const std::string& pointer) {
  try {
    return std::make_unique<ModifiedPairLoss>(std::move(loss), modifiers);
  } catch (const ArgumentError& failure) {
    throw UsageError(cat(document.where(pointer), ": loss: ", failure.what()));
  }
}

namespace {

/// A loss of pairs that is one function.
class FunctionLoss : public PairLoss {
 public:
  using Value = std::function<Tensor(const PairInputs&, Metrics&)>;
  FunctionLoss(Needs needs, Value value) : needs_(std::move(needs)), value_(std::move(value)) {}
  Needs needs() const override { return needs_; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override {
    return value_(pair, metrics);
  }

 private:
  Needs needs_;
  Value value_;
};

struct NoOptions {};
void describe(Schema&, NoOptions&) {}

}  // namespace

void Registry::add_pair_loss(LossInfo info, Needs needs, FunctionLoss::Value value) {
  add(std::move(info), NoOptions{},
      [=](const NoOptions&) { return std::make_unique<FunctionLoss>(needs, value); });
}

namespace {

template <class Info>
bool answers_to(const Info& info, const std::string& name) {
  return name == info.name ||
         std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end();
}

template <class Info>
void add_to(std::vector<Info>& list, Info info) {
  for (const auto& known : list) {
    const auto taken = [&](const std::string& name) { return answers_to(known, name); };
    if (taken(info.name) || std::any_of(info.aliases.begin(), info.aliases.end(), taken))
      throw ArgumentError(cat("[Registry] the name of the loss \"", info.name, "\" is taken by \"",
                              known.name, "\""));
  }
  list.push_back(std::move(info));
}

/// `kind` names the list in the sentence of the error: "loss".
template <class Info>
const Info& find_in(const std::vector<Info>& list, const std::string& name,
                    const std::string& where, const std::string& kind) {
  std::vector<std::string> names;
  for (const auto& info : list) {
    if (answers_to(info, name)) return info;
    names.push_back(info.name);
  }
  std::string known;
  for (const auto& n : names) known += (known.empty() ? "" : ", ") + n;
  const std::string near = nearest(name, names);
  throw UsageError(cat(
      where, ": unknown ", kind, " \"", name, "\"",
      near.empty() ? cat("; known ", kind, "es: ", known) : "; did you mean \"" + near + "\"?"));
}

}  // namespace

void Registry::add(LossInfo info) { add_to(losses_, std::move(info)); }
void Registry::add_reward(RewardLossInfo info) { add_to(reward_losses_, std::move(info)); }

const LossInfo& Registry::find(const std::string& name, const std::string& where) const {
  return find_in(losses_, name, where, "loss");
}
const RewardLossInfo& Registry::find_reward(const std::string& name,
                                            const std::string& where) const {
  return find_in(reward_losses_, name, where, "reward loss");
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
  try {
    return std::make_unique<LossMix>(std::move(losses));
  } catch (const ArgumentError& failure) {
    throw UsageError(cat(config.where(pointer), ": loss: ", failure.what()));
  }
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

namespace {

/// The "loss" section of task "reward"; bradley_terry where there is none.
std::pair<Document, std::string> reward_section(const Document& config,
                                                const std::string& pointer) {
  const Json* section = config.find(pointer);
  if (section == nullptr || section->is_null())
    return {Document::of(Json{{"type", "bradley_terry"}}, "loss"), ""};
  if (!section->is_object() || !section->contains("type") || !section->at("type").is_string())
    throw UsageError(cat(config.where(pointer),
                         ": the loss of task \"reward\" is one object with a \"type\", for example "
                         "{\"type\": \"bradley_terry\"}"));
  return {config, pointer};
}

}  // namespace

std::unique_ptr<RewardLoss> Registry::make_reward_loss(const Document& config,
                                                       const std::string& pointer) const {
  const auto [document, at] = reward_section(config, pointer);
  const auto type = document.find(at + "/type")->get<std::string>();
  return find_reward(type, document.where(at + "/type")).make(document, at);
}

Json Registry::resolve_reward_loss(const Document& config, const std::string& pointer) const {
  const auto [document, at] = reward_section(config, pointer);
  const Json given = *document.find(at);
  const auto& info = find_reward(given["type"].get<std::string>(), document.where(at + "/type"));
  Json out = {{"type", info.name}};
  out.update(info.schema().dump());
  for (const auto& [key, value] : given.items())
    if (key != "type") out[key] = value;
  return out;
}

}  // namespace luce
