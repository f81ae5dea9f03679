#include "check.h"

namespace luce::cuda::check {
namespace {

template <class S>
void check_case(Report& report, int64_t V, int64_t pad, int64_t offset, DivergenceKind kind,
                double beta) {
  const int64_t rows = 3, p_stride = V + pad, q_stride = V + 2 * pad;
  const double epsilon = sizeof(S) == 4 ? 1.2e-7 : 2.3e-16;
  // A cap and tokens of probability 0 do not go together.
  const LogitMap<double> p_map =
      offset > 0 ? LogitMap<double>{0.9, 0, 1} : LogitMap<double>{1.3, 30, 30 / 0.8};
  const LogitMap<double> q_map{0.7, 0, 1};
  const bool narrow = sizeof(S) == 4 && pad == 1;
  report.begin(text("divergence of kind ", static_cast<int>(kind), " beta ", beta, ", ",
                    type_name<S>(), " ", V, " pad ", pad, " offset ", offset));
  Random random;
  vector<S> p = random.normals<S>(offset + rows * p_stride, 2);
  vector<S> q = random.normals<S>(rows * q_stride, 2);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < V; ++v)
      if (offset > 0 && v != V / 2 && random.uniform() < 0.2) {
        p[offset + r * p_stride + v] = -INFINITY;
        if (kind != DivergenceKind::jensen_shannon || v % 2 == 0) q[r * q_stride + v] = -INFINITY;
      }
  vector<S> p_lse, q_lse;
  vector<vector<double>> probabilities(rows), slopes(rows), f(rows);
  vector<double> value(rows), slope_sum(rows);
  for (int64_t r = 0; r < rows; ++r) {
    vector<double> zp, zq;
    for (int64_t v = 0; v < V; ++v) {
      zp.push_back(mapped(p_map, p[offset + r * p_stride + v]));
      zq.push_back(mapped(q_map, q[r * q_stride + v]));
      slopes[r].push_back(map_slope(p_map, p[offset + r * p_stride + v]));
    }
    const Softmax of_p(zp), of_q(zq);
    p_lse.push_back(static_cast<S>(of_p.lse));
    q_lse.push_back(static_cast<S>(of_q.lse));
    for (int64_t v = 0; v < V; ++v) {
      const double a = std::exp(zp[v] - of_p.lse), b = std::exp(zq[v] - of_q.lse);
      const double m = beta * b + (1 - beta) * a;
      double part = 0, slope = 0;  // `slope` is p f of kernels.h
      if (kind == DivergenceKind::forward_kl) {
        if (a > 0) part = slope = a * std::log(a / b);
      } else if (kind == DivergenceKind::reverse_kl) {
        if (b > 0) part = b * std::log(b / a);
        slope = -b;
      } else {
        if (a > 0) slope = (1 - beta) * a * std::log(a / m);
        part = slope + (b > 0 ? beta * b * std::log(b / m) : 0);
      }
      value[r] += part;
      slope_sum[r] += slope;
      f[r].push_back(slope);
      probabilities[r].push_back(a);
    }
  }
  Buffer<S> p_logits(p), q_logits(q), p_sums(p_lse), q_sums(q_lse), got(rows), got_slope(rows);
  Buffer<S> upstream(random.normals<S>(rows));
  const DivergenceRows d{{kType<S>, p_logits.device + offset, rows, V, p_stride, p_map, false},
                         {kType<S>, q_logits.device, rows, V, q_stride, q_map, false},
                         p_sums.device,
                         q_sums.device,
                         kind,
                         beta};
  report.ok(divergence_value(d, got.device, got_slope.device, nullptr), "divergence_value");
  read(got, got_slope);
  for (int64_t r = 0; r < rows; ++r) {
    const double tolerance = 40 * epsilon * (1 + std::fabs(value[r]));
    report.near(got[r], value[r], tolerance, "divergence_value", r);
    report.near(got_slope[r], slope_sum[r], tolerance, "slope_sum", r);
  }
  Buffer<bf16> apart(rows * V);
  GradientRows out;
  if (narrow) out = {apart.device, Type::bf16, V};
  report.ok(divergence_gradient(d, got_slope.device, upstream.device, out, nullptr),
            "divergence_gradient");
  read(p_logits, apart);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < V; ++v) {
      const double want =
          upstream[r] * (f[r][v] - probabilities[r][v] * slope_sum[r]) * slopes[r][v];
      report.near(narrow ? number(apart[r * V + v]) : number(p_logits[offset + r * p_stride + v]),
                  want, (narrow ? 0.002 * std::fabs(want) : 0) + 60 * epsilon,
                  "divergence_gradient", v);
    }
}

}  // namespace

void check_divergence(Report& report) {
  for (const int64_t V : {1, 2, 31, 229, 4099})
    for (const int64_t pad : {0, 1, 3})
      for (const int64_t offset : {0, 1}) {
        const auto check = [&](DivergenceKind kind, double beta) {
          check_case<float>(report, V, pad, offset, kind, beta);
          check_case<double>(report, V, pad, offset, kind, beta);
        };
        check(DivergenceKind::forward_kl, 0.5);
        check(DivergenceKind::reverse_kl, 0.5);
        check(DivergenceKind::jensen_shannon, 0.5);
        check(DivergenceKind::jensen_shannon, 0.1);
      }
}

}  // namespace luce::cuda::check
