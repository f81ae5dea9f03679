// The experiments, one a file.
#pragma once

#include "luce/experiment/experiment.h"

namespace luce {

Experiment three_actions();
Experiment deterministic_preferences();
Experiment displacement();
Experiment one_family();
Experiment kl_estimators();
Experiment over_optimisation();
Experiment exposure_bias();
Experiment dpo_and_rlhf();
Experiment frontier();
Experiment sums();

}  // namespace luce
