// The element-wise parts of a decoder block, each in one pass over its rows.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {
namespace {

LUCE_HD float sum_of(Vec x) {
  // Halves are added to halves: the same order wherever the row stands.
  float lane[kLanes];
  x.store(lane);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lane[i] += lane[i + step];
  return lane[0];
}

}  // namespace

void rms_norm(int64_t rows, int64_t d, const float* x, const float* residual, const float* w,
              float eps, float* sum, float* y, float* rstd) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * d;
    Vec squares(0.0F);
    if (residual != nullptr) {
      float* out = sum + r * d;
      for_lanes(d, [&](int64_t i, int count) {
        const Vec s = load_some(row + i, count) + load_some(residual + r * d + i, count);
        store_some(s, out + i, count);
        squares = squares + s * s;
      });
      row = out;
    } else {
      for_lanes(d, [&](int64_t i, int count) {
        const Vec s = load_some(row + i, count);
        squares = squares + s * s;
      });
    }
    const float scale = 1.0F / __builtin_sqrtf(sum_of(squares) / static_cast<float>(d) + eps);
    rstd[r] = scale;
    for_lanes(d, [&](int64_t i, int count) {
      store_some(load_some(row + i, count) * scale * load_some(w + i, count), y + r * d + i, count);
    });
  }
}

void rms_norm_backward(int64_t rows, int64_t d, const float* x, const float* w, const float* rstd,
                       const float* dy, const float* dsum, float* dx, float* dw) {
  // x̂ = x·rstd:  dx = rstd (w∘dy − x̂ mean(w∘dy∘x̂)),  dw = Σ_rows dy∘x̂
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * d;
    const float scale = rstd[r];
    Vec dot(0.0F);
    for_lanes(d, [&](int64_t i, int count) {
      const Vec g = load_some(dy + at + i, count), x_hat = load_some(x + at + i, count) * scale;
      dot = dot + g * load_some(w + i, count) * x_hat;
      store_some(load_some(dw + i, count) + g * x_hat, dw + i, count);
    });
    const float mean = sum_of(dot) / static_cast<float>(d);
    for_lanes(d, [&](int64_t i, int count) {
      const Vec x_hat = load_some(x + at + i, count) * scale;
      Vec g = (load_some(dy + at + i, count) * load_some(w + i, count) - x_hat * mean) * scale;
      if (dsum != nullptr) g = g + load_some(dsum + at + i, count);
      store_some(g, dx + at + i, count);
    });
  }
}

void rotate(int64_t rows, int64_t heads, int64_t d, const float* x, const float* cos,
            const float* sin, float sign, float* y) {
  const int64_t half = d / 2;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < heads; ++h) {
      const float* in = x + (r * heads + h) * d;
      float* out = y + (r * heads + h) * d;
      for_lanes(half, [&](int64_t i, int count) {
        const auto pair = turned(load_some(in + i, count), load_some(in + half + i, count),
                                 load_some(cos + r * half + i, count),
                                 load_some(sin + r * half + i, count) * sign);
        store_some(pair.first, out + i, count);
        store_some(pair.second, out + half + i, count);
      });
    }
}

void swiglu(int64_t n, const float* gate, const float* up, float* y) {
  for_lanes(n, [&](int64_t i, int count) {
    store_some(kernels::swiglu(load_some(gate + i, count), load_some(up + i, count)), y + i, count);
  });
}

void swiglu_backward(int64_t n, const float* gate, const float* up, const float* dy, float* d_gate,
                     float* d_up) {
  for_lanes(n, [&](int64_t i, int count) {
    const auto g = swiglu_gradient(load_some(gate + i, count), load_some(up + i, count),
                                   load_some(dy + i, count));
    store_some(g.gate, d_gate + i, count);
    store_some(g.up, d_up + i, count);
  });
}

}  // namespace luce::kernels::LUCE_ISA
