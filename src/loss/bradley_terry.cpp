// Bradley-Terry (Bradley & Terry 1952; as a reward model Ouyang et al., arXiv:2203.02155 eq. 1)
// with a margin m (Llama 2, arXiv:2307.09288 eq. 2) and centring (Eisenstein et al.,
// arXiv:2312.09244)
//   h = r(y⁺) − r(y⁻) − m
//   ℓ = −q log σ(h) − (1−q) log σ(−h) + c (r(y⁺) + r(y⁻))²
//   q = p (1−ε) + (1−p) ε        p: the row's preference, 1 unless given; ε: label smoothing
#include "luce/loss/bradley_terry.h"

#include <ATen/ATen.h>

namespace luce {

void describe(Schema& s, BradleyTerryOptions& o) {
  s.field("label_smoothing", o.label_smoothing, "share of labels taken to be wrong")
      .at_least(0)
      .below(0.5);
  s.field("center_rewards_coefficient", o.center_rewards_coefficient,
          "pulls the rewards of a pair to a sum of 0; .01 is usual")
      .at_least(0);
}

RewardLossInfo BradleyTerry::info() {
  return {.name = "bradley_terry",
          .title = "Bradley-Terry reward model",
          .paper = "Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1",
          .formula =
              "h = r(chosen) - r(rejected) - margin\n"
              "loss = -(1-eps) log sigmoid(h) - eps log sigmoid(-h)\n"
              "       + c (r(chosen) + r(rejected))^2",
          .notes =
              "At equal rewards the loss is log 2. Rewards are fixed up to a constant a "
              "prompt; centring chooses one. A row's preference p takes the place of the "
              "label."};
}

Terms BradleyTerry::operator()(const ScoreInputs& x, Metrics&) const {
  const Tensor r_w = x.with_role(Role::chosen).to(at::kDouble);
  const Tensor r_l = x.with_role(Role::rejected).to(at::kDouble);
  const auto column = [&](const std::vector<double>& values, double otherwise) {
    const Tensor t = values.empty() ? at::full({x.num_groups()}, otherwise, at::kDouble)
                                    : at::tensor(values, at::kDouble);
    return t.to(r_w.device()).unsqueeze(1);
  };
  const Tensor m = column(x.columns.margin, 0), p = column(x.columns.preference, 1);
  const double eps = options_.label_smoothing, c = options_.center_rewards_coefficient;
  const Tensor h = r_w - r_l - m;
  const Tensor q = p * (1 - eps) + (1 - p) * eps;
  Tensor loss = -q * at::log_sigmoid(h) - (1 - q) * at::log_sigmoid(-h);
  if (c > 0) loss = loss + c * (r_w + r_l).square();
  return {over_heads(loss, x)};
}

}  // namespace luce
