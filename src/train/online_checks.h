// What online training asks of a config.
#pragma once

#include "luce/train/config.h"

namespace luce {

/// Throws UsageError where sections of online training contradict each other or the task.
void check_online(const RunConfig& config, const Document& document, const Registry& registry);

/// The sections "algorithm" and "reward" with every option written out.
Json resolved_algorithm(const Document& document, const Registry& registry);
Json resolved_rewards(const Document& document, const Registry& registry);

}  // namespace luce
