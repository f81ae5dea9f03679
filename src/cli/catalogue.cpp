// The verbs that tell what there is: list, explain, schema.
#include <algorithm>
#include <iomanip>
#include <iostream>

#include "luce/base/error.h"
#include "luce/loss/plugin.h"
#include "luce/rl/algorithms.h"
#include "luce/rl/reward_registry.h"
#include "luce/train/config.h"
#include "luce/train/online_rows.h"
#include "verbs.h"

namespace luce::cli {
namespace {

constexpr const char* kOnlineDpoTitle = "any loss of pairs on pairs of samples";
constexpr const char* kRejectionTitle = "the best samples as demonstrations";
constexpr const char* kOptionHead =
    "| option | type | default | meaning |\n| --- | --- | --- | --- |\n";

/// What `explain` prints of a loss or an algorithm; `weights` is empty for all but losses of
/// policies. `key`: where it stands in a config.
template <class Info>
void explain(const Info& info, const std::string& weights, const std::string& key) {
  std::cout << info.name << ": " << info.title << "\n\n";
  std::string formula = "  " + info.formula;
  for (size_t at = 0; (at = formula.find('\n', at)) != std::string::npos; at += 3)
    formula.replace(at, 1, "\n  ");
  std::cout << formula << "\n\n" << info.notes << "\n";
  if (!weights.empty()) std::cout << "\nGradient weights: " << weights << "\n";
  std::cout << "\nPaper: " << info.paper << "\n";
  if (!info.aliases.empty()) {
    std::cout << "Also known as:";
    for (const auto& alias : info.aliases) std::cout << " " << alias;
    std::cout << "\n";
  }
  const std::string options = info.schema().table();
  if (options.empty())
    std::cout << "Options: none\n";
  else
    std::cout << "\n" << kOptionHead << options;
  std::cout << "\nIn a config: " << key << ": {\"type\": \"" << info.name << "\"}\n";
}

/// The reward of samples of that name, if there is one.
bool explain_reward_function(const RewardFunctions& functions, const std::string& name) {
  for (const RewardInfo& info : functions.infos()) {
    if (info.name != name) continue;
    std::cout << info.name << ": " << info.title << "\n\n";
    if (!info.notes.empty()) std::cout << info.notes << "\n";
    const std::string options = info.schema().table();
    if (!options.empty()) std::cout << "\n" << kOptionHead << options;
    std::cout << "\nIn a config: \"task\": \"rl\", \"reward\": {\"type\": \"" << info.name
              << "\"}\n";
    return true;
  }
  return false;
}

template <class Options>
void explain_rows(const std::string& name, const char* title, const char* paper,
                  const char* notes) {
  RowAlgorithm<Options> options;
  Schema schema;
  describe(schema, options);
  std::cout << name << ": " << title << "\n\n"
            << notes << "\n\nPaper: " << paper << "\n\n"
            << kOptionHead << schema.table() << "\nIn a config: \"task\": \"rl\", \"algorithm\": "
            << "{\"type\": \"" << name << "\"}\n";
}

/// Whatever has that name: a loss of policies or of reward models, or both; an algorithm; a reward.
void explain(const Registry& registry, const std::string& name) {
  const auto has_name = [&](const auto& info) {
    return info.name == name ||
           std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end();
  };
  const auto& algorithms = registry.part<Algorithms>().list();
  if (const auto found = std::find_if(algorithms.begin(), algorithms.end(), has_name);
      found != algorithms.end())
    return explain(*found, "", "\"task\": \"rl\", \"algorithm\"");
  if (explain_reward_function(registry.part<RewardFunctions>(), name)) return;
  if (name == kOnlineDpo)
    return explain_rows<OnlinePairsOptions>(
        name, kOnlineDpoTitle, "Guo et al., arXiv:2402.04792",
        "Of the completions of a prompt, those of the largest and the smallest reward become "
        "chosen "
        "and rejected. The loss is one of task \"preference\", with its own options.");
  if (name == kRejectionSampling)
    return explain_rows<RejectionOptions>(
        name, kRejectionTitle, "Dong et al., arXiv:2304.06767",
        "Completions of most reward become demonstrations for maximum likelihood.");
  const auto& rewards = registry.reward_losses();
  const auto reward = std::find_if(rewards.begin(), rewards.end(), has_name);
  const auto& losses = registry.losses();
  const bool of_policy = std::any_of(losses.begin(), losses.end(), has_name);
  if (of_policy || reward == rewards.end()) {
    const LossInfo& info = registry.find(name, "luce explain");
    explain(info, info.weights, "\"loss\"");
  }
  if (reward == rewards.end()) return;
  if (of_policy) std::cout << "\nWith task \"reward\":\n\n";
  explain(*reward, "", "\"task\": \"reward\", \"loss\"");
}

/// online_dpo and rejection_sampling, which make rows for losses.
template <class Options>
Json row_algorithm_schema(const char* name, const std::string& title) {
  RowAlgorithm<Options> options;
  Schema described;
  describe(described, options);
  Json out = described.json_schema();
  out["title"] = title;
  out["properties"]["type"] = {{"enum", {name}}};
  return out;
}

Json config_schema(const Registry& registry) {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  Json out = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "luce train"}};
  out.update(schema.json_schema());
  Json choices = Json::array();
  for (const auto& info : registry.losses()) {
    Json one = info.schema().json_schema();
    Json names = Json::array({info.name});
    for (const auto& alias : info.aliases) names.push_back(alias);
    one["title"] = info.title;
    one["properties"]["type"] = {{"enum", names}};
    one["properties"]["weight"] = {{"type", "number"}, {"default", 1}};
    one["required"] = {"type"};
    choices.push_back(one);
  }
  out["properties"]["head"]["properties"]["chunk_mb"] = {
      {"anyOf", {{{"const", "auto"}}, {{"type", "integer"}, {"minimum", 1}}}}, {"default", "auto"}};
  const Json trl = {{"type", "object"},
                    {"properties",
                     {{"type", {{"type", "array"}, {"items", {{"type", "string"}}}}},
                      {"weights", {{"type", "array"}, {"items", {{"type", "number"}}}}}}},
                    {"required", {"type"}}};
  Json rewards = Json::array();
  for (const auto& info : registry.reward_losses()) {
    Json one = info.schema().json_schema();
    one["title"] = info.title;
    one["properties"]["type"] = {{"enum", {info.name}}};
    one["required"] = {"type"};
    rewards.push_back(one);
  }
  const auto one_of = [](const auto& infos, const Json& more) {
    Json all = Json::array();
    for (const auto& info : infos) {
      Json one = info.schema().json_schema();
      one["title"] = info.title;
      Json names = Json::array({info.name});
      if constexpr (requires { info.aliases; })
        for (const auto& alias : info.aliases) names.push_back(alias);
      one["properties"]["type"] = {{"enum", names}};
      one["properties"].update(more);
      one["required"] = {"type"};
      all.push_back(one);
    }
    return all;
  };
  out["$defs"]["algorithm"] = {
      {"oneOf", one_of(registry.part<Algorithms>().list(), Json::object())}};
  out["$defs"]["algorithm"]["oneOf"].push_back(
      row_algorithm_schema<OnlinePairsOptions>(kOnlineDpo, kOnlineDpoTitle));
  out["$defs"]["algorithm"]["oneOf"].push_back(
      row_algorithm_schema<RejectionOptions>(kRejectionSampling, kRejectionTitle));
  out["properties"]["algorithm"] = {
      {"anyOf", Json::array({{{"$ref", "#/$defs/algorithm"}}, {{"type", "null"}}})}};
  out["$defs"]["reward"] = {
      {"oneOf", one_of(registry.part<RewardFunctions>().infos(),
                       {{"weight", {{"type", "number"}, {"default", 1}}},
                        {"name", {{"type", Json::array({"string", "null"})}}}})}};
  out["properties"]["reward"] = {
      {"anyOf", Json::array({{{"$ref", "#/$defs/reward"}},
                             {{"type", "array"}, {"items", {{"$ref", "#/$defs/reward"}}}},
                             {{"type", "null"}}})}};
  out["$defs"]["loss"] = {{"oneOf", choices}};
  out["$defs"]["reward_loss"] = {{"oneOf", rewards}};
  out["properties"]["loss"] = {
      {"description", "a loss, a list of losses, or {\"type\": [...], \"weights\": [...]}"},
      {"anyOf", Json::array({{{"$ref", "#/$defs/loss"}},
                             {{"$ref", "#/$defs/reward_loss"}},
                             {{"type", "array"}, {"items", {{"$ref", "#/$defs/loss"}}}},
                             trl,
                             {{"type", "null"}}})}};
  return out;
}

}  // namespace

void add_plugin_option(CLI::App& verb, Context& context) {
  const auto load = [&context](const std::vector<std::string>& paths) {
    for (const auto& path : paths) load_plugin(context.registry, path, "--plugin");
  };
  verb.add_option_function<std::vector<std::string>>(
          "--plugin", load, "A shared object with losses of your own; may be given several times")
      ->allow_extra_args(false);
}

void add_list(CLI::App& app, Context& context) {
  CLI::App* verb =
      app.add_subcommand("list", "List losses, algorithms, rewards, tasks and model types");
  add_plugin_option(*verb, context);
  verb->callback([&context] {
    std::cout << "losses (luce explain NAME):\n";
    for (const auto& info : context.registry.losses()) {
      std::cout << "  " << std::left << std::setw(19) << info.name << info.title;
      for (const auto& alias : info.aliases) std::cout << "  (also " << alias << ")";
      std::cout << "\n";
    }
    std::cout << "losses of reward models, with task \"reward\":\n";
    for (const auto& info : context.registry.reward_losses())
      std::cout << "  " << std::left << std::setw(19) << info.name << info.title << "\n";
    std::cout << "algorithms, with task \"rl\":\n";
    const auto line = [](const std::string& name, const std::string& title) {
      std::cout << "  " << std::left << std::setw(21) << name << title << "\n";
    };
    for (const auto& info : context.registry.part<Algorithms>().list()) line(info.name, info.title);
    line(kOnlineDpo, kOnlineDpoTitle);
    line(kRejectionSampling, kRejectionTitle);
    std::cout << "rewards of samples:\n";
    for (const auto& info : context.registry.part<RewardFunctions>().infos())
      line(info.name, info.title);
    std::cout << "tasks:\n  sft  maximum likelihood of texts or completions\n"
                 "  preference  learning from judged answers: pairs, labels, ranks, scores\n"
                 "  reward  models that score answers, their outcome or their steps\n"
                 "  rl  learning from samples of the policy itself\n"
                 "model types:\n  llama\n"
                 "learning rates:\n  constant, linear, cosine; each with a warm-up\n";
  });
}

void add_explain(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand(
      "explain", "Formula, paper and options of a loss, an algorithm or a reward");
  verb->add_option("NAME", *name, "As `luce list` names it")->required();
  add_plugin_option(*verb, context);
  verb->callback([name, &context] { explain(context.registry, *name); });
}

void add_schema(CLI::App& app, Context& context) {
  auto markdown = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("schema", "Print the JSON Schema of a config");
  verb->add_flag("--table", *markdown, "A Markdown table of all keys instead");
  add_plugin_option(*verb, context);
  verb->callback([markdown, &context] {
    if (!*markdown) {
      std::cout << config_schema(context.registry).dump(2) << "\n";
      return;
    }
    RunConfig config;
    Schema schema;
    describe(schema, config);
    std::cout << "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
              << schema.table();
  });
}

}  // namespace luce::cli
