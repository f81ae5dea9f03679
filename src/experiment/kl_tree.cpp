#include "experiment/kl_tree.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/oracle/calculus.h"
#include "luce/oracle/table.h"

namespace luce::experiment {

KlTree::KlTree(const oracle::Sequences& s, const Tensor& policy, const Tensor& ref)
    : s_(s),
      theta_(policy.detach().requires_grad_(true)),
      ref_(ref),
      logps_(s.logps(theta_)),
      ref_logps_(s.logps(ref)),
      log_p_(logps_.sum()),
      probability_(log_p_.detach().exp()),
      scores_(oracle::jacobian(logps_.values, theta_).detach()) {
  const Tensor log_ref = ref_logps_.sum(), kl = exact_kl(log_p_, log_ref);
  kl_ = kl.item<double>();
  const auto slope = [&](const Tensor& x) {
    return oracle::gradient(x, theta_).detach().reshape({-1});
  };
  exact_gradient_ = slope(kl);
  reverse_gradient_ = slope(exact_kl(log_ref, log_p_));
}

Moments KlTree::moments(const Tensor& of_answers) const {
  const double mean = probability_.dot(of_answers).item<double>();
  return {mean, probability_.dot((of_answers - mean).square()).item<double>()};
}

Tensor KlTree::per_token(const KlOptions& k) const {
  return TokenValues{kl_estimate(logps_.values, ref_logps_.values, k), s_.offset}.sum().detach();
}

Tensor KlTree::per_sequence(const KlOptions& k) const {
  return kl_estimate(log_p_, ref_logps_.sum(), k).detach();
}

Tensor KlTree::exact_per_token() const {
  const Tensor kl = exact_kl(oracle::log_policy(theta_), oracle::log_policy(ref_));
  return s_.at_prefixes(kl).sum().detach();
}

Tensor KlTree::gradient_per_token(const KlOptions& k) const {
  const Tensor x = logps_.values.detach().requires_grad_(true);
  const Tensor slope = oracle::gradient(kl_estimate(x, ref_logps_.values, k).sum(), x).detach();
  return add_up(scores_ * slope.unsqueeze(1));
}

Tensor KlTree::gradient_per_sequence(const KlOptions& k) const {
  const Tensor x = log_p_.detach().requires_grad_(true);
  const Tensor slope = oracle::gradient(kl_estimate(x, ref_logps_.sum(), k).sum(), x).detach();
  return add_up(scores_) * slope.unsqueeze(1);
}

Tensor KlTree::gradient_of_exact() const {
  const Tensor kl = exact_kl(oracle::log_policy(theta_), oracle::log_policy(ref_));
  const Tensor rows = oracle::gradient(kl.sum(), theta_).detach();  // [N, V], a row a prefix
  const int64_t m = s_.token.numel();
  Tensor all = at::zeros({m, rows.size(0), rows.size(1)}, at::kDouble);
  all.index_put_({at::arange(m), s_.prefix}, rows.index_select(0, s_.prefix));
  return add_up(all.view({m, -1}));
}

Tensor KlTree::mean(const Tensor& g) const { return probability_.matmul(g); }

Comparison KlTree::compare(const Tensor& g, const Tensor& right) const {
  const Tensor m = mean(g);
  const double size = right.norm().item<double>(), got = m.norm().item<double>();
  return {(m - right).norm().item<double>() / size,
          got < 1e-12 * size ? NAN : m.dot(right).item<double>() / (got * size),
          probability_.dot((g - m).square().sum(1)).item<double>() / (size * size)};
}

/// Sums over the tokens of each answer.
Tensor KlTree::add_up(const Tensor& of_tokens) const {
  const Tensor length = logps_.length().to(at::kLong);
  const Tensor answer = at::arange(length.numel()).repeat_interleave(length);
  return at::zeros({length.numel(), of_tokens.size(1)}, at::kDouble)
      .index_add(0, answer, of_tokens);
}

}  // namespace luce::experiment
