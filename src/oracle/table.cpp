#include "luce/oracle/table.h"

#include <ATen/ATen.h>

#include "luce/base/random.h"
#include "luce/loss/kl.h"

namespace luce::oracle {

Tensor numbers(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

Tensor normal(const std::vector<int64_t>& shape, uint64_t seed) {
  const Random random(seed, Purpose::test);
  Tensor table = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < table.numel(); ++i)
    table.data_ptr<double>()[i] = random.normal(0, static_cast<uint64_t>(i), 0);
  return table;
}

SmoothTable::SmoothTable(int64_t answers, uint64_t seed)
    : theta(normal({4}, seed).requires_grad_(true)) {
  const Tensor in = normal({6, 4}, seed + 1000), out = normal({answers, 6}, seed + 2000);
  value = out.matmul(at::tanh(in.matmul(theta)));
}

Tensor log_policy(const Tensor& logits) { return at::log_softmax(logits, -1); }

Tensor coupled_policy(const Tensor& log_ref, const Tensor& direction, const Tensor& u) {
  return log_policy(log_ref + u * direction);
}

Tensor entropy(const Tensor& log_p) { return -expectation(log_p, log_p); }

Tensor expectation(const Tensor& log_p, const Tensor& value) {
  return (log_p.exp() * value).sum(-1);
}

Tensor KlObjective::value(const Tensor& log_p) const {
  return expectation(log_p, reward) - beta * exact_kl(log_p, log_ref);
}

Tensor KlObjective::log_z() const { return at::logsumexp(log_ref + reward / beta, {-1}); }

Tensor KlObjective::log_optimum() const { return log_policy(log_ref + reward / beta); }

}  // namespace luce::oracle
