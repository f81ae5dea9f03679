#include "train/online_checks.h"

#include "luce/base/error.h"
#include "luce/rl/algorithms.h"
#include "luce/rl/reward_registry.h"
#include "luce/train/online_rows.h"

namespace luce {
namespace {

bool is_algorithm(const Document& document, const char* name) {
  const Json* type = document.find("/algorithm/type");
  return type != nullptr && *type == name;
}

/// What the algorithm of a config asks for, whatever it makes of a rollout.
AlgorithmNeeds needs_of(const Document& document, const Registry& registry) {
  if (is_algorithm(document, kRejectionSampling)) return {};
  if (is_algorithm(document, kOnlineDpo)) {
    parse_row_algorithm<OnlinePairsOptions>(document);
    const auto loss = registry.make_loss(document, "/algorithm/loss");
    if (loss->rows() != Rows::pairs || loss->needs().gold)
      throw UsageError(cat(document.where("/algorithm/loss"),
                           ": online_dpo makes pairs of samples; it needs a loss of pairs"));
    return {.reference = loss->needs().reference, .least_group = 2};
  }
  return registry.part<Algorithms>().make(document, "/algorithm")->needs();
}

template <class T>
Json written_out(T section) {
  Schema schema;
  describe(schema, section);
  return schema.dump();
}

}  // namespace

void check_online(const RunConfig& config, const Document& document, const Registry& registry) {
  const auto fail = [&](const std::string& pointer, const std::string& sentence) {
    throw UsageError(cat(document.where(pointer), ": ", sentence));
  };
  if (config.task != "rl") {
    for (const char* section : {"/algorithm", "/rollout", "/reward", "/value"})
      if (document.find(section) != nullptr && !document.find(section)->is_null())
        fail(section, cat("\"", section + 1, "\" belongs to task \"rl\"; this task is \"",
                          config.task, "\""));
    return;
  }
  if (config.algorithm.is_null())
    fail("", "task \"rl\" needs an \"algorithm\", for example {\"type\": \"rloo\"}");
  if (config.reward.is_null())
    fail("", "task \"rl\" needs a \"reward\", for example {\"type\": \"model\", \"path\": …}");
  if (!config.loss.is_null())
    fail("/loss", "task \"rl\" has an \"algorithm\" in place of a \"loss\"");
  const AlgorithmNeeds needs = needs_of(document, registry);
  const auto& reference = config.reference;
  if (!needs.reference && (reference.path || reference.sync_steps > 0))
    fail("/reference", "this algorithm uses no reference model; leave \"reference\" out");
  if (reference.precompute)
    fail("/reference/precompute",
         "samples are not known before they are drawn; leave reference.precompute out");
  const auto& value = config.value;
  if (!needs.values && (value.path || value.share_trunk || value.learning_rate))
    fail("/value", "this algorithm has no value model; leave \"value\" out");
  if (value.path && value.share_trunk)
    fail("/value/path",
         "a value head on the policy's trunk has no folder of its own: give "
         "value.path or value.share_trunk, not both");
  const auto& rollout = config.rollout;
  if (rollout.num_generations < needs.least_group)
    fail("/rollout/num_generations",
         cat("this algorithm compares at least ", needs.least_group,
             " completions of a prompt; got ", rollout.num_generations));
  if (rollout.importance_sampling_min > rollout.importance_sampling_max)
    fail("/rollout/importance_sampling_min",
         cat("importance_sampling_min lies above importance_sampling_max, ",
             rollout.importance_sampling_max));
  if (!rollout.server.is_null() && rollout.mixture_path)
    fail("/rollout/mixture_path",
         "a server samples from its own model alone; leave rollout.mixture_path out");
  if (rollout.dynamic_sampling > 0 && rollout.num_generations < 2)
    fail("/rollout/dynamic_sampling",
         "dynamic_sampling compares completions of a prompt; it needs num_generations of 2 or "
         "more");
}

Json resolved_algorithm(const Document& document, const Registry& registry) {
  if (is_algorithm(document, kRejectionSampling))
    return written_out(parse_row_algorithm<RejectionOptions>(document));
  if (is_algorithm(document, kOnlineDpo)) {
    auto algorithm = parse_row_algorithm<OnlinePairsOptions>(document);
    algorithm.loss = registry.resolve_loss(document, "/algorithm/loss");
    return written_out(algorithm);
  }
  return registry.part<Algorithms>().resolve(document, "/algorithm");
}

Json resolved_rewards(const Document& document, const Registry& registry) {
  return registry.part<RewardFunctions>().resolve(document, "/reward");
}

}  // namespace luce
