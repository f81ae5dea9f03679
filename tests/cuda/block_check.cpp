#include "check.h"

namespace luce::cuda::check {
namespace {

/// `fused`: with a residual, the sum over x, dx over dy, and dw added to what is there.
template <class T>
void check_rms_norm(Report& report, int64_t rows, int64_t D, bool fused) {
  using W = Wide<T>;
  report.begin(text("rms_norm, ", type_name<T>(), " ", rows, " × ", D, fused ? " fused" : ""));
  const double eps = 1e-5, e = by_type<T>(1e-13, 3e-6, 0.008);
  Random random;
  const vector<T> x0 = random.normals<T>(rows * D);
  Buffer<T> x(x0), residual(random.normals<T>(rows * D)), w(random.normals<T>(D)),
      dy(random.normals<T>(rows * D)), d_sum(random.normals<T>(rows * D)), y(rows * D),
      dx(fused ? dy.host : vector<T>(rows * D)), dx_alone(rows * D);
  Buffer<W> rstd(rows), partials(rms_norm_partials(rows) * D), dw(vector<W>(D, 2));
  report.ok(rms_norm(kType<T>, rows, D, x.device, fused ? residual.device : nullptr, w.device, eps,
                     fused ? x.device : nullptr, y.device, rstd.device, nullptr),
            "rms_norm");
  const void* more = fused ? d_sum.device : nullptr;
  report.ok(rms_norm_backward(kType<T>, rows, D, x.device, w.device, rstd.device,
                              fused ? dx.device : dy.device, more, dx.device, partials.device,
                              dw.device, fused, nullptr),
            "rms_norm_backward");
  report.ok(rms_norm_backward(kType<T>, rows, D, x.device, w.device, rstd.device, dy.device, more,
                              dx_alone.device, nullptr, nullptr, false, nullptr),
            "rms_norm_backward without dw");
  read(x, y, rstd, dx, dw, dx_alone);
  vector<double> want_dw(D, fused ? 2 : 0);
  for (int64_t n = 0; n < rows; ++n) {
    vector<double> v(D);
    double squares = 0, dot = 0;
    for (int64_t c = 0; c < D; ++c) {
      const int64_t i = n * D + c;
      v[c] = number(x0[i]);
      if (fused) v[c] = number(rounded<T>(v[c] + number(residual[i])));
      report.near(number(x[i]), v[c], 0, "sum", i);
      squares += v[c] * v[c];
    }
    const double k = 1 / std::sqrt(squares / static_cast<double>(D) + eps);
    report.near(rstd[n], k, by_type<T>(1e-14, 5e-7, 5e-7) * k, "rstd", n);
    for (int64_t c = 0; c < D; ++c) {
      const double want = v[c] * k * number(w[c]), g = number(dy[n * D + c]);
      report.near(number(y[n * D + c]), want, e * (1 + std::fabs(want)), "y", n * D + c);
      dot += g * number(w[c]) * v[c] * k / static_cast<double>(D);
      want_dw[c] += g * v[c] * k;
    }
    for (int64_t c = 0; c < D; ++c) {
      const int64_t i = n * D + c;
      const double want =
          k * (number(dy[i]) * number(w[c]) - v[c] * k * dot) + (fused ? number(d_sum[i]) : 0);
      report.near(number(dx[i]), want, e * (1 + std::fabs(want)), "dx", i);
      report.near(number(dx_alone[i]), number(dx[i]), 0, "dx without dw", i);
    }
  }
  for (int64_t c = 0; c < D; ++c)
    report.near(dw[c], want_dw[c],
                by_type<T>(1e-12, 5e-6, 5e-6) *
                    (1 + std::sqrt(static_cast<double>(rows)) + std::fabs(want_dw[c])),
                "dw", c);
}

template <class T>
void check_rotate(Report& report, int64_t N, int64_t d, int64_t H, int64_t K, bool inverse,
                  bool in_place) {
  using W = Wide<T>;
  report.begin(text("rotate, ", type_name<T>(), " rows ", N, " width ", d, " heads ", H, " + ", K,
                    inverse ? " inverse" : "", in_place ? " in place" : ""));
  const int64_t row = (H + K) * d + 1, half = d / 2;
  Random random;
  const vector<T> x0 = random.normals<T>(N * row);
  Buffer<T> x(x0), q(N * H * d), k(N * K * d + 1);
  Buffer<W> cos(N * half), sin(N * half);
  for (int64_t i = 0; i < N * half; ++i) {
    const double angle = 10 * random.uniform();
    cos.host[i] = static_cast<W>(std::cos(angle));
    sin.host[i] = static_cast<W>(std::sin(angle));
  }
  cos.write();
  sin.write();
  RotaryRows k_rows;
  if (K > 0)
    k_rows = in_place ? RotaryRows{x.device + H * d, x.device + H * d, K, row, row}
                      : RotaryRows{x.device + H * d, k.device, K, row, K * d};
  const RotaryRows q_rows = in_place ? RotaryRows{x.device, x.device, H, row, row}
                                     : RotaryRows{x.device, q.device, H, row, H * d};
  report.ok(rotate(kType<T>, N, d, q_rows, k_rows, cos.device, sin.device, inverse, nullptr),
            "rotate");
  read(x, q, k);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t h = 0; h < H + K; ++h) {
      const T* out = in_place ? &x.host[n * row + h * d]
                     : h < H  ? &q.host[(n * H + h) * d]
                              : &k.host[(n * K + h - H) * d];
      for (int64_t i = 0; i < half; ++i) {
        const double a = number(x0[n * row + h * d + i]),
                     b = number(x0[n * row + h * d + i + half]);
        const double c = cos[n * half + i], s = (inverse ? -1 : 1) * sin[n * half + i];
        const double e = by_type<T>(2e-14, 2e-6, 0.012);
        report.near(number(out[i]), a * c - b * s, e, "first half", i);
        report.near(number(out[i + half]), b * c + a * s, e, "second half", i);
      }
    }
}

template <class T>
void check_swiglu(Report& report, int64_t N, int64_t F) {
  report.begin(text("swiglu, ", type_name<T>(), " ", N, " × ", F));
  const int64_t stride = 2 * F + 1, d_stride = 2 * F + 2;
  const double e = by_type<T>(5e-15, 5e-7, 0.003);
  Random random;
  vector<T> both = random.normals<T>(N * stride, 3);
  if (F > 2) both[0] = rounded<T>(1000), both[1] = rounded<T>(-1000);
  Buffer<T> gate_up(both), dy(random.normals<T>(N * F)), y(N * F), d(N * d_stride);
  const T *gate = gate_up.device, *up = gate + F;
  report.ok(swiglu(kType<T>, N, F, gate, up, stride, y.device, nullptr), "swiglu");
  report.ok(swiglu_backward(kType<T>, N, F, gate, up, stride, dy.device, d.device, d.device + F,
                            d_stride, nullptr),
            "swiglu_backward");
  read(y, d);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t i = 0; i < F; ++i) {
      const double g = number(both[n * stride + i]), u = number(both[n * stride + F + i]);
      const double sigma = 1 / (1 + std::exp(-g)), t = number(dy[n * F + i]);
      const double want = g * sigma * u, d_up = t * g * sigma;
      const double d_gate = t * u * (sigma + g * sigma * (1 - sigma));
      report.near(number(y[n * F + i]), want, e * (1e-3 + std::fabs(want)), "y", i);
      report.near(number(d[n * d_stride + i]), d_gate, e * (1 + std::fabs(d_gate)), "d_gate", i);
      report.near(number(d[n * d_stride + F + i]), d_up, e * (1e-3 + std::fabs(d_up)), "d_up", i);
    }
}

template <class T>
void check_type(Report& report) {
  for (const bool fused : {false, true}) {
    for (const int64_t D : {1, 31, 64, 229, 1030})
      for (const int64_t rows : {1, 3, 40}) check_rms_norm<T>(report, rows, D, fused);
    check_rms_norm<T>(report, 700, 8, fused);
  }
  for (const bool inverse : {false, true})
    for (const bool in_place : {false, true}) {
      check_rotate<T>(report, 1, 2, 1, 1, inverse, in_place);
      check_rotate<T>(report, 5, 6, 3, 1, inverse, in_place);
      check_rotate<T>(report, 5, 64, 2, 0, inverse, in_place);
      check_rotate<T>(report, 3, 128, 4, 2, inverse, in_place);
    }
  for (const int64_t F : {1, 31, 256, 1029}) check_swiglu<T>(report, 5, F);
}

}  // namespace

void check_block(Report& report) {
  check_type<float>(report);
  check_type<double>(report);
  check_type<bf16>(report);
  report.begin("rms_norm of no rows");
  Buffer<float> dw(vector<float>(5, 3)), any(5);
  report.ok(rms_norm_backward(Type::f32, 0, 5, any.device, any.device, any.device, any.device,
                              nullptr, any.device, any.device, dw.device, false, nullptr),
            "rms_norm_backward");
  dw.read();
  for (int64_t c = 0; c < 5; ++c) report.near(dw[c], 0, 0, "dw", c);
}

}  // namespace luce::cuda::check
