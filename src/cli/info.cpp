// The verbs that only tell: list, explain, schema, env, report.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iomanip>
#include <iostream>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/progress.h"
#include "luce/data/training_report.h"
#include "luce/loss/plugin.h"
#include "luce/model/causal_lm.h"
#include "luce/ops/device.h"
#include "luce/train/config.h"
#include "luce/version.h"
#include "verbs.h"

namespace luce::cli {
namespace {

/// What `explain` prints of a loss; `weights` is empty for losses of reward models.
template <class Info>
void explain(const Info& info, const std::string& weights, const std::string& task) {
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
    std::cout << "\n| option | type | default | meaning |\n| --- | --- | --- | --- |\n" << options;
  std::cout << "\nIn a config: " << task << "\"loss\": {\"type\": \"" << info.name << "\"}\n";
}

/// The policy's loss of that name, the reward model's, or both.
void explain(const Registry& registry, const std::string& name) {
  const auto has_name = [&](const auto& info) {
    return info.name == name ||
           std::find(info.aliases.begin(), info.aliases.end(), name) != info.aliases.end();
  };
  const auto& rewards = registry.reward_losses();
  const auto reward = std::find_if(rewards.begin(), rewards.end(), has_name);
  const auto& losses = registry.losses();
  const bool of_policy = std::any_of(losses.begin(), losses.end(), has_name);
  if (of_policy || reward == rewards.end()) {
    const LossInfo& info = registry.find(name, "luce explain");
    explain(info, info.weights, "");
  }
  if (reward == rewards.end()) return;
  if (of_policy) std::cout << "\nWith task \"reward\":\n\n";
  explain(*reward, "", "\"task\": \"reward\", ");
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

std::string first_value(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) {
      const auto at = line.find_first_not_of(" \t:", key.size());
      return at == std::string::npos ? "" : line.substr(at);
    }
  return "unknown";
}

void env() {
  char host_glibc[64] = "unknown";
  confstr(_CS_GNU_LIBC_VERSION, host_glibc, sizeof host_glibc);
  std::cout << "luce:      " << kVersion << "\n"
            << "compiler:  " << __VERSION__ << "\n"
            << "LibTorch:  " << TORCH_VERSION << " (headers)\n"
            << "libc:      " << host_glibc << "\n"
            << "processor: " << first_value("/proc/cpuinfo", "model name") << "\n"
            << "threads:   " << at::get_num_threads() << " of " << sysconf(_SC_NPROCESSORS_ONLN)
            << " cores\n"
            << "LibTorch's kernels: " << at::get_cpu_capability() << "\n"
            << "memory:    " << first_value("/proc/meminfo", "MemTotal") << " in all, "
            << first_value("/proc/meminfo", "MemAvailable") << " available\n"
            << "device:    " << describe_device(device_of("auto", "env")) << "\n"
            << "GPU:       " << (why_no_gpu().empty() ? "usable" : why_no_gpu()) << "\n";
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
  CLI::App* verb = app.add_subcommand("list", "List losses, tasks and model types");
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
    std::cout << "tasks:\n  sft  maximum likelihood of texts or completions\n"
                 "  preference  learning from judged answers: pairs, labels, ranks, scores\n"
                 "  reward  models that score answers, their outcome or their steps\n"
                 "model types:\n  llama\n"
                 "learning rates:\n  constant, linear, cosine; each with a warm-up\n";
  });
}

void add_explain(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("explain", "Formula, paper and options of a loss");
  verb->add_option("NAME", *name, "A loss, as `luce list` names it")->required();
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

void add_env(CLI::App& app, Context&) {
  app.add_subcommand("env", "Describe this machine and build, for bug reports")->callback(env);
}

void add_report(CLI::App& app, Context&) {
  auto folder = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("report", "Draw report.html of a run anew");
  verb->add_option("OUTPUT", *folder, "The output_dir of a run")->required();
  verb->callback([folder] {
    const std::filesystem::path path = std::filesystem::path(*folder) / "report.html";
    write_file_atomic(path, training_report(*folder).html());
    std::cout << path.string() << "\n";
  });
}

}  // namespace luce::cli
