#include <memory>

#include "check.h"

namespace luce::cuda::check {
namespace {

template <class S>
struct Parameter {
  Parameter(int64_t count, Random& random)
      : g(random.normals<S>(count)),
        weight(random.normals<S>(count)),
        m(random.normals<S>(count, 0.1)),
        v(random.normals<S>(count)),
        copy(count) {
    for (S& x : v.host) x = x * x;
    v.write();
    weight_before = weight.host;
    m_before = m.host;
    v_before = v.host;
  }
  Buffer<S> g, weight, m, v;
  Buffer<bf16> copy;
  vector<S> weight_before, m_before, v_before;
};

template <class S>
void check_type(Report& report) {
  report.begin(text("adamw, ", type_name<S>()));
  const vector<int64_t> sizes{5, 0, 16384, 1, 40001, 0, 31, 0};
  const size_t misaligned = 4, without_decay = 3;
  Random random;
  vector<std::unique_ptr<Parameter<S>>> parameters;
  vector<AdamWTensor> list;
  for (size_t i = 0; i < sizes.size(); ++i) {
    // One more than the tensor has, which must stay as it is.
    parameters.push_back(std::make_unique<Parameter<S>>(sizes[i] + 1, random));
    Parameter<S>& p = *parameters.back();
    const int o = i == misaligned;
    list.push_back({p.g.device + o, p.weight.device + o, p.m.device + o, p.v.device + o,
                    i % 2 == 0 ? p.copy.device + o : nullptr, sizes[i],
                    i == without_decay ? 0. : 1., 0});
  }
  const int64_t count = static_cast<int64_t>(list.size());
  const int64_t chunks = number_chunks(list.data(), count);
  Buffer<AdamWTensor> tensors(list);
  Buffer<S> factor(vector<S>{static_cast<S>(0.5)});
  Buffer<double> partials(chunks), norm(1);
  report.ok(
      squared_norm(kType<S>, tensors.device, count, chunks, partials.device, norm.device, nullptr),
      "squared_norm");
  norm.read();
  double squares = 0;
  for (size_t i = 0; i < sizes.size(); ++i)
    for (int64_t j = 0; j < sizes[i]; ++j) {
      const double g = parameters[i]->g[j + (i == misaligned)];
      squares += g * g;
    }
  report.near(norm[0], squares, 1e-12 * squares, "squared_norm");
  const double lr = 0.01, beta1 = 0.9, beta2 = 0.99, epsilon = 1e-6, decay = 0.1, scale = 0.8;
  const double correction1 = 1 - std::pow(beta1, 3), correction2 = 1 - std::pow(beta2, 3);
  report.ok(adamw(kType<S>, tensors.device, count, chunks,
                  {lr, beta1, beta2, epsilon, decay, scale, correction1, std::sqrt(correction2)},
                  factor.device, nullptr),
            "adamw");
  const double e = sizeof(S) == 4 ? 5e-7 : 5e-15;
  for (size_t i = 0; i < sizes.size(); ++i) {
    Parameter<S>& p = *parameters[i];
    read(p.weight, p.m, p.v, p.copy);
    for (int64_t j = i == misaligned, end = j + sizes[i]; j < end; ++j) {
      const double g = p.g[j] * scale * 0.5, w0 = p.weight_before[j];
      const double m = beta1 * p.m_before[j] + (1 - beta1) * g;
      const double v = beta2 * p.v_before[j] + (1 - beta2) * g * g;
      const double w = w0 - (i == without_decay ? 0 : lr * decay * w0) -
                       lr * (m / correction1) / (std::sqrt(v / correction2) + epsilon);
      report.near(p.weight[j], w, e * (1 + std::fabs(w)), "weight", j);
      report.near(p.m[j], m, e, "m", j);
      report.near(p.v[j], v, e * (1 + v), "v", j);
      if (i % 2 == 0)
        report.near(number(p.copy[j]), number(rounded<bf16>(p.weight[j])), 0, "copy", j);
    }
    const int64_t beyond = i == misaligned ? 0 : sizes[i];
    report.near(p.weight[beyond], p.weight_before[beyond], 0, "weight of no tensor", beyond);
  }
}

}  // namespace

void check_adamw(Report& report) {
  check_type<float>(report);
  check_type<double>(report);
}

}  // namespace luce::cuda::check
