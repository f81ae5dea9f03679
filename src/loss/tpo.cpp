// Triple preference optimization, arXiv:2405.16681 eq. 9
//   x = log π(y⁺) − log π(y⁻); forms ipo and tpo-l take log-probs per token
//   sigmoid  ℓ = −(1−ε) log σ(βx) − ε log σ(−βx)      hinge  ℓ = max(0, 1 − βx)
//   ipo      ℓ = (x − 1/(2β))²                        tpo-l  sigmoid of βx − γ
//   and α times the negative log-likelihood of the gold answers per token
#include "luce/loss/tpo.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "luce/base/error.h"

namespace luce {

void describe(Schema& s, TpoOptions& o) {
  s.field("beta", o.beta, "slope of the loss on the gap of log-probs").above(0);
  s.field("tpo_alpha", o.tpo_alpha, "weight of the gold answers' negative log-likelihood")
      .at_least(0);
  s.field("gamma", o.gamma, "margin of the form tpo-l").at_least(0).alias("tpo_l_gamma");
  s.field("label_smoothing", o.label_smoothing, "assumed share ε of flipped labels")
      .at_least(0)
      .below(0.5);
  s.field("form", o.form, "shape of the loss").one_of({"sigmoid", "hinge", "ipo", "tpo-l"});
}

LossInfo Tpo::info() {
  return {.name = "tpo",
          .aliases = {},
          .title = "Triple preference optimization",
          .paper = "Saeidi et al. 2024, arXiv:2405.16681, eq. 9",
          .formula =
              "x = log pi(y+) - log pi(y-)\n"
              "loss = -(1-eps) log sigmoid(beta x) - eps log sigmoid(-beta x) + "
              "tpo_alpha * NLL(gold)",
          .notes =
              "Rows carry a gold answer in the column \"reference\" beside chosen and "
              "rejected. No reference model. Forms and defaults are those of TRL.",
          .weights = "beta [(1-eps) sigmoid(-beta x) - eps sigmoid(beta x)]; both alike"};
}

void Tpo::check_rows(const std::vector<Example>& train) const {
  const auto has_gold = [](const Example& row) {
    return std::find(row.roles.begin(), row.roles.end(), Role::gold) != row.roles.end();
  };
  const auto without =
      std::count_if(train.begin(), train.end(), [&](const Example& row) { return !has_gold(row); });
  if (options_.tpo_alpha > 0 && without > 0)
    throw DataError(
        cat("tpo learns from a gold answer in the column \"reference\" of each row, and ", without,
            " of ", train.size(), " rows have none; cpo is the loss for plain pairs"));
}

Tensor Tpo::values(const PairInputs& pair, Metrics&) const {
  const auto& [beta, alpha, gamma, eps, form] = options_;
  const auto& logps = per_token() ? pair.mean_logps : pair.logps;
  const Tensor x = logps.chosen - logps.rejected;
  if (form == "ipo") return (x - 1 / (2 * beta)).square();
  if (form == "hinge") return at::relu(1 - beta * x);
  const Tensor h = form == "tpo-l" ? beta * x - gamma : beta * x;
  return -(1 - eps) * at::log_sigmoid(h) - eps * at::log_sigmoid(-h);
}

}  // namespace luce
