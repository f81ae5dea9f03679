// Maximum likelihood of demonstrations, or of the chosen answers of pairs
//   ℓ = −(1/T) Σ_t log π(y⁺_t | x, y⁺_<t)          T: all chosen completion tokens of the step
#include "luce/loss/sft.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"

namespace luce {

LossInfo Sft::info() {
  return {.name = "sft",
          .aliases = {},
          .title = "Maximum likelihood (supervised fine-tuning)",
          .paper =
              "as a term beside a preference loss: Liu et al. 2024, arXiv:2405.16436; "
              "Pang et al. 2024, arXiv:2404.19733",
          .formula = "loss = -(1/T) * sum over chosen tokens of log pi(token | before)",
          .notes =
              "T counts the chosen completion tokens of the whole optimizer step, so the loss "
              "does not depend on how the step is split into micro-batches.",
          .weights = "1 for each chosen token"};
}

void Sft::check_rows(const std::vector<Example>& train) const {
  for (const Example& row : train)
    for (size_t k = 0; k < row.completions.size(); ++k)
      if (row.role(k) == Role::chosen) return;
  if (!train.empty())
    throw DataError(
        "sft learns from chosen answers, and these rows have none: their answers are told apart "
        "by ranks or scores, or are all undesirable");
}

Terms Sft::operator()(const GroupInputs& x, Metrics&) const {
  return {{-x.logps.sum().index_select(0, x.with_role(Role::chosen)), Per::chosen_token, 1}};
}

}  // namespace luce
