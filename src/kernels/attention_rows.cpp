#include "kernels/attention_rows.h"

#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {
namespace {

constexpr int64_t kStride = kAttentionBlock;

Ints load_ints(const int32_t* p) {
  Ints x;
  __builtin_memcpy(&x, p, kBytes);
  return x;
}

template <bool kMasked, bool kCapped>
void softmax_of(int64_t keys, int64_t queries, int64_t d, float* scores, const VisibleKeys& visible,
                float cap, float* max, float* sum, float* out) {
  const Vec infinity = __builtin_inff();
  for (int64_t r = 0; r < queries; r += kLanes) {
    const Vec before = Vec::load(max + r);
    Vec top = before;
    for (int64_t j = 0; j < keys; ++j) {
      float* at = scores + j * kStride + r;
      Vec z = Vec::load(at);
      if (kCapped) z = tanh_of(z / cap) * cap;
      if (kMasked) {
        const Ints key = Ints{} + (visible.first + static_cast<int32_t>(j));
        z = select((key >= load_ints(visible.begin + r)) & (key < load_ints(visible.end + r)), z,
                   Vec(0.0F) - infinity);
      }
      if (kCapped || kMasked) z.store(at);
      top = max_of(z, top);
    }
    // Where nothing was visible yet, −∞ − −∞ would not be a number.
    const Vec base = max_of(top, lowest_of(top)), factor = exp_of(before - base);
    Vec total = Vec::load(sum + r) * factor;
    for (int64_t j = 0; j < keys; ++j) {
      float* at = scores + j * kStride + r;
      const Vec p = exp_of(Vec::load(at) - base);
      p.store(at);
      total = total + p;
    }
    top.store(max + r);
    total.store(sum + r);
    for (int64_t c = 0; c < d; ++c) {
      float* at = out + c * kStride + r;
      (Vec::load(at) * factor).store(at);
    }
  }
}

template <bool kMasked, bool kCapped>
void gradient_of(int64_t keys, int64_t queries, float* scores, float* d_scores,
                 const VisibleKeys& visible, float scale, float cap, const float* lse,
                 const float* delta) {
  for (int64_t r = 0; r < queries; r += kLanes) {
    const Vec row_lse = Vec::load(lse + r), row_delta = Vec::load(delta + r);
    for (int64_t j = 0; j < keys; ++j) {
      float *p_at = scores + j * kStride + r, *ds_at = d_scores + j * kStride + r;
      Vec z = Vec::load(p_at), slope = scale;
      if (kCapped) {
        const Vec t = tanh_of(z / cap);
        z = t * cap;
        slope = (Vec(1.0F) - t * t) * scale;
      }
      Vec p = exp_of(z - row_lse);
      if (kMasked) {
        const Ints key = Ints{} + (visible.first + static_cast<int32_t>(j));
        p = select((key >= load_ints(visible.begin + r)) & (key < load_ints(visible.end + r)), p,
                   0.0F);
      }
      p.store(p_at);
      (p * (Vec::load(ds_at) - row_delta) * slope).store(ds_at);
    }
  }
}

void softmax(int64_t keys, int64_t queries, int64_t d, float* scores, const VisibleKeys& visible,
             float cap, float* max, float* sum, float* out) {
  const auto of = visible.all ? (cap == 0 ? softmax_of<false, false> : softmax_of<false, true>)
                              : (cap == 0 ? softmax_of<true, false> : softmax_of<true, true>);
  of(keys, queries, d, scores, visible, cap, max, sum, out);
}

void gradient(int64_t keys, int64_t queries, float* scores, float* d_scores,
              const VisibleKeys& visible, float scale, float cap, const float* lse,
              const float* delta) {
  const auto of = visible.all ? (cap == 0 ? gradient_of<false, false> : gradient_of<false, true>)
                              : (cap == 0 ? gradient_of<true, false> : gradient_of<true, true>);
  of(keys, queries, scores, d_scores, visible, scale, cap, lse, delta);
}

void finish(int64_t queries, int64_t d, const float* max, const float* sum, float* out,
            float* lse) {
  for (int64_t r = 0; r < queries; r += kLanes) {
    const Vec total = Vec::load(sum + r);
    (Vec::load(max + r) + log_of(total)).store(lse + r);
    for (int64_t c = 0; c < d; ++c) {
      float* at = out + c * kStride + r;
      (Vec::load(at) / total).store(at);
    }
  }
}

void dot(int64_t queries, int64_t d, const float* a, const float* b, float* out) {
  for (int64_t r = 0; r < queries; r += kLanes) {
    Vec total(0.0F);
    for (int64_t c = 0; c < d; ++c)
      total = total + Vec::load(a + c * kStride + r) * Vec::load(b + c * kStride + r);
    total.store(out + r);
  }
}

using Four [[gnu::vector_size(16)]] = float;

LUCE_HD Four low_pairs(Four a, Four b) { return Four{a[0], b[0], a[1], b[1]}; }
LUCE_HD Four high_pairs(Four a, Four b) { return Four{a[2], b[2], a[3], b[3]}; }

void transpose(int64_t rows, int64_t columns, float factor, const float* from, int64_t from_stride,
               float* to, int64_t to_stride) {
  for (int64_t i = 0; i < rows; i += 4)
    for (int64_t j = 0; j < columns; j += 4) {
      Four x[4];
      for (int s = 0; s < 4; ++s) {
        __builtin_memcpy(&x[s], from + (i + s) * from_stride + j, sizeof(Four));
        x[s] *= factor;
      }
      const Four a = low_pairs(x[0], x[2]), b = low_pairs(x[1], x[3]);
      const Four c = high_pairs(x[0], x[2]), d = high_pairs(x[1], x[3]);
      const Four y[4] = {low_pairs(a, b), high_pairs(a, b), low_pairs(c, d), high_pairs(c, d)};
      for (int s = 0; s < 4; ++s)
        __builtin_memcpy(to + (j + s) * to_stride + i, &y[s], sizeof(Four));
    }
}

void add(int64_t n, const float* x, float* y) {
  for_lanes(n, [&](int64_t i, int count) {
    store_some(load_some(y + i, count) + load_some(x + i, count), y + i, count);
  });
}

}  // namespace

const AttentionRows& attention_rows() {
  static constexpr AttentionRows kRows{softmax, finish, gradient, dot, transpose, add};
  return kRows;
}

}  // namespace luce::kernels::LUCE_ISA
