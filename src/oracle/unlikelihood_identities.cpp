// Two forms of unlikelihood, as weights on the logits.
#include <ATen/ATen.h>

#include "luce/oracle/calculus.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

Result weights_of_unlikelihood() {
  const double alpha = 0.5;
  const Tensor logits = numbers({0.3, -0.1, 0.8, 0.0}).requires_grad_(true);
  const Tensor log_p = log_policy(logits), score = jacobian(log_p, logits);  // gold: the second
  const Tensor unwanted = log_p.slice(0, 2), p = unwanted.exp();             // third and fourth
  const Tensor plain = gradient(-log_p[1] + alpha * unwanted.sum(), logits);
  // Welleck et al., arXiv:1908.04319
  const Tensor published = gradient(-log_p[1] - alpha * at::log1p(-p).sum(), logits);
  const auto weighted = [&](const Tensor& weight) {
    return -score[1] + alpha * weight.matmul(score.slice(0, 2));
  };
  return worst(
      {deviation(plain, weighted(at::ones_like(p))), deviation(published, weighted(p / (1 - p))),
       figure_error(plain, {0, -1, 0.5, 0.5}, 1e-5),
       figure_error(published, {0.13461, -0.90977, 0.56383, 0.21132}, 1e-5)},
      "on the logits: plain " + figures(plain, 5) + ", published " + figures(published, 5));
}

}  // namespace

std::vector<Identity> unlikelihood_identities() {
  return {
      {42, "WeightsOfUnlikelihood",
       "the gradient of −log p_g + α Σ log p_k is −∇ log p_g + α Σ ∇ log p_k; in the "
       "published form, −log p_g − α Σ log(1 − p_k), each k has the weight p_k/(1 − p_k)",
       weights_of_unlikelihood},
  };
}

}  // namespace luce::oracle
