#include "luce/oracle/choice.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "luce/oracle/calculus.h"
#include "luce/oracle/table.h"

namespace luce::oracle {

Tensor bradley_terry(const Tensor& reward) {
  return at::sigmoid(reward.unsqueeze(-1) - reward.unsqueeze(-2));
}

Tensor mixture(const Tensor& weight, const Tensor& rewards) {
  return (weight.view({-1, 1, 1}) * bradley_terry(rewards)).sum(0);
}

Tensor plackett_luce(const Tensor& score, const std::vector<int64_t>& order) {
  const Tensor s = score.index_select(0, at::tensor(order, at::kLong));
  const Tensor rest = at::logcumsumexp(s.flip(0), 0).flip(0);  // of s_k and all that come after it
  return (s - rest).sum();
}

std::vector<std::vector<int64_t>> permutations(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::vector<int64_t>> all;
  do all.push_back(order);
  while (std::next_permutation(order.begin(), order.end()));
  return all;
}

Tensor psi_optimum(const Tensor& log_ref, const Tensor& preference, const Tensor& mu,
                   const std::function<Tensor(const Tensor&)>& psi, double tau) {
  return log_policy(log_ref + psi(preference).matmul(mu) / tau);
}

Tensor win_rate(const Tensor& preference, const Tensor& policy) {
  return preference.matmul(policy);
}

Tensor averaged_self_play(const Tensor& preference, const Tensor& start, double step, int rounds) {
  Tensor logits = start.log(), sum = at::zeros_like(start);
  Tensor last = win_rate(preference, start);
  for (int round = 0; round < rounds; ++round) {
    const Tensor policy = at::softmax(logits + step * last, 0);  // the last reward as a forecast
    last = win_rate(preference, policy);
    logits = logits + step * last;
    sum += policy;
  }
  return sum / rounds;
}

Tensor regularised_nash(const Tensor& log_ref, const Tensor& preference, double tau) {
  // Rewards turn around the fixed point like a game of scissors, paper, stone, the faster the
  // smaller τ: small enough steps make a spiral of it that ends there.
  const double step = tau * tau / (1 + tau * tau);
  Tensor log_p = log_ref;
  for (int iteration = 0; iteration < 100000; ++iteration) {
    const Tensor target = log_policy(log_ref + win_rate(preference, log_p.exp()) / tau);
    if (deviation(target, log_p) < 1e-14) break;
    log_p = log_policy((1 - step) * log_p + step * target);
  }
  return log_p;
}

}  // namespace luce::oracle
