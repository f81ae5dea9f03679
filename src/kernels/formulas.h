// The arithmetic of the kernels, written once for every processor.
//
// T is float or double on a GPU and in portable code, and a vector of lanes in the CPU kernels, so
// that a formula is tested where no GPU is. S is the scalar type of T. A vector type brings its own
// exp_of, log_of, tanh_of, sqrt_of, max_of, found by argument-dependent lookup.
// Nothing here includes LibTorch.
#pragma once

#include <math.h>

#if defined(__CUDACC__)
#define LUCE_HD __host__ __device__ __forceinline__
#else
// Always inlined: a copy compiled for a newer processor must never be the one that the linker
// keeps.
#define LUCE_HD inline __attribute__((always_inline))
#endif

namespace luce::kernels {

LUCE_HD float exp_of(float x) { return ::expf(x); }
LUCE_HD double exp_of(double x) { return ::exp(x); }
LUCE_HD float log_of(float x) { return ::logf(x); }
LUCE_HD double log_of(double x) { return ::log(x); }
LUCE_HD float tanh_of(float x) { return ::tanhf(x); }
LUCE_HD double tanh_of(double x) { return ::tanh(x); }
LUCE_HD float sqrt_of(float x) { return ::sqrtf(x); }
LUCE_HD double sqrt_of(double x) { return ::sqrt(x); }
LUCE_HD float max_of(float a, float b) { return a > b ? a : b; }
LUCE_HD double max_of(double a, double b) { return a > b ? a : b; }
/// A finite value that stands for −∞ where 0 · −∞ must be 0, and whose exponential is 0.
LUCE_HD float lowest_of(float) { return -1e30f; }
LUCE_HD double lowest_of(double) { return -1e300; }

// --- Logits --------------------------------------------------------------------------------------

/// What logits go through between hidden @ weightᵀ and the softmax:
///   z = scale · x,  or with a cap  z = after · tanh(scale · x / cap)      after = cap /
///   temperature
/// `scale` holds the model's logit scale, and 1 / temperature where there is no cap.
template <class S>
struct LogitMap {
  S scale = 1;
  S cap = 0;    // 0: none
  S after = 1;  // cap / temperature

  template <class T>
  LUCE_HD T value(T x) const {
    return cap == S(0) ? x * scale : tanh_of(x * (scale / cap)) * after;
  }
  /// dz/dx, told from z.
  template <class T>
  LUCE_HD T slope(T z) const {
    if (cap == S(0)) return T(scale);
    const T t = z * (S(1) / after);
    return (S(1) - t * t) * (scale * after / cap);
  }
};

/// The sums behind every statistic of a softmax row, relative to a value `max` ≥ all z seen
/// (Milakov & Gimelshein, arXiv:1805.02867); e = exp(z − max). An element with z = −∞ has
/// probability 0 and adds to nothing but `total`.
template <class T>
struct RowSums {
  T max;      // −∞ while empty
  T exp;      // Σ e
  T shifted;  // Σ e (z − max)
  T square;   // Σ e²
  T total;    // Σ z
};

/// Sums relative to `max` restated relative to `to` ≥ max. An empty row stays empty.
template <class T>
LUCE_HD RowSums<T> rebased(const RowSums<T>& a, T to) {
  const T shift = max_of(a.max - to, lowest_of(to));  // −∞ − m: the factor below is 0
  const T f = exp_of(shift);
  return {to, a.exp * f, (a.shifted + a.exp * shift) * f, a.square * f * f, a.total};
}

/// The sums of two parts of a row.
template <class T>
LUCE_HD RowSums<T> merged(const RowSums<T>& a, const RowSums<T>& b) {
  const T max = max_of(max_of(a.max, b.max), lowest_of(a.max));
  const RowSums<T> x = rebased(a, max), y = rebased(b, max);
  return {max, x.exp + y.exp, x.shifted + y.shifted, x.square + y.square, x.total + y.total};
}

template <class T>
LUCE_HD T log_sum_exp(const RowSums<T>& s) {
  return s.max + log_of(s.exp);
}
/// H = −Σ p log p = log Σe − Σ e (z − max) / Σe.
template <class T>
LUCE_HD T entropy(const RowSums<T>& s) {
  return log_of(s.exp) - s.shifted / s.exp;
}
/// log Σ p².
template <class T>
LUCE_HD T log_sum_p2(const RowSums<T>& s) {
  return log_of(s.square) - log_of(s.exp) * 2;
}

/// The gradient of a row of logits, for given gradients of its statistics. With p = softmax(z):
///   dz_v = p_v (a + b log p_v + c p_v) + m            and further + g_k at each token k asked for
/// where a = −Σ_k g_k − h H − 2s,  b = −h,  c = 2s / Σp²,  m = ∂mean/V, for gradients g_k of
/// log-probs, h of the entropy, s of log Σp². −∞ logits have p = 0 and gradient m.
template <class T>
struct RowSlopes {
  T a, b, c, m;
};

/// The slopes of a row with entropy H and log Σp², for g = Σ_k g_k, h, s and m = ∂mean/V.
/// Where h or s is 0, pass 0 for its statistic.
template <class T>
LUCE_HD RowSlopes<T> row_slopes(T g, T h, T entropy, T s, T log_sum_p2, T m) {
  return {T(0) - g - h * entropy - s * 2, T(0) - h, s * exp_of(T(0) - log_sum_p2) * 2, m};
}

/// The dense part of dz. `log_p` = z − lse.
template <class T>
LUCE_HD T logit_gradient(const RowSlopes<T>& r, T log_p) {
  const T p = exp_of(log_p);
  return p * (r.a + r.b * max_of(log_p, lowest_of(log_p)) + r.c * p) + r.m;
}

// --- Divergences of two softmax rows, per vocabulary entry ---------------------------------------

/// A summand d_v of the divergence and the value f_v that its gradient is made of:
///   D = Σ_v d_v      ∂D/∂z_v = p_v f_v − p_v Σ_u p_u f_u      (z: the logits of p)
template <class T>
struct DivergenceTerm {
  T value, slope;  // d_v, p_v f_v
};

/// KL(p ‖ q) = Σ p (log p − log q);  f = log p − log q.
template <class T>
LUCE_HD DivergenceTerm<T> kl_forward(T log_p, T log_q) {
  const T p = exp_of(log_p);
  const T d = p * (max_of(log_p, lowest_of(log_p)) - max_of(log_q, lowest_of(log_q)));
  return {d, d};
}
/// KL(q ‖ p) = Σ q (log q − log p);  f = −q / p, so that p f = −q.
template <class T>
LUCE_HD DivergenceTerm<T> kl_reverse(T log_p, T log_q) {
  const T q = exp_of(log_q);
  return {q * (max_of(log_q, lowest_of(log_q)) - max_of(log_p, lowest_of(log_p))), T(0) - q};
}
/// JSD_β = β KL(q ‖ m) + (1 − β) KL(p ‖ m), m = β q + (1 − β) p (Agarwal et al.,
/// arXiv:2306.13649 eq. 2, q the teacher);  f = (1 − β)(log p − log m).
template <class T, class S>
LUCE_HD DivergenceTerm<T> jensen_shannon(T log_p, T log_q, S beta) {
  const T p = exp_of(log_p), q = exp_of(log_q), tiny = lowest_of(log_p);
  const T m = q * beta + p * (S(1) - beta);
  const T log_m = max_of(log_of(m), tiny);
  const T own = p * (max_of(log_p, tiny) - log_m) * (S(1) - beta);
  return {q * (max_of(log_q, tiny) - log_m) * beta + own, own};
}

// --- Attention -----------------------------------------------------------------------------------

/// What two attentions of one query over disjoint keys count for in the attention over all of them:
/// out = first · out₁ + second · out₂.
template <class T>
struct AttentionShares {
  T first, second, lse;
};
/// From the parts' log-sum-exp. ±∞ stands for a part without keys; without any, all shares are 0.
template <class T>
LUCE_HD AttentionShares<T> attention_shares(T lse1, T lse2) {
  const T none = lowest_of(lse1);
  if (lse1 == T(HUGE_VAL)) lse1 = -T(HUGE_VAL);
  if (lse2 == T(HUGE_VAL)) lse2 = -T(HUGE_VAL);
  const T max = max_of(max_of(lse1, lse2), none);
  const T a = exp_of(lse1 - max), b = exp_of(lse2 - max), sum = a + b;
  if (sum == T(0)) return {T(0), T(0), -T(HUGE_VAL)};
  return {a / sum, b / sum, max + log_of(sum)};
}

// --- Decoder blocks ------------------------------------------------------------------------------

/// silu(g) · u.
template <class T>
LUCE_HD T swiglu(T g, T u) {
  return g / (exp_of(T(0) - g) + 1) * u;
}
template <class T>
struct SwigluGradient {
  T gate, up;
};
/// For an output gradient dy:  σ = 1/(1+e^−g),  dg = dy u σ (1 + g (1 − σ)),  du = dy g σ.
template <class T>
LUCE_HD SwigluGradient<T> swiglu_gradient(T g, T u, T dy) {
  const T sigma = T(1) / (exp_of(T(0) - g) + 1);
  return {dy * u * sigma * (g * (T(1) - sigma) + 1), dy * g * sigma};
}

/// One pair of dimensions turned by an angle; the inverse turn is the gradient.
template <class T>
struct Turned {
  T first, second;
};
template <class T>
LUCE_HD Turned<T> turned(T a, T b, T cos, T sin) {
  return {a * cos - b * sin, b * cos + a * sin};
}

// --- AdamW (Loshchilov & Hutter, arXiv:1711.05101) -----------------------------------------------

template <class S>
struct AdamWStep {
  S lr, beta1, beta2, epsilon, decay;
  S gradient_scale;        // what gradients are multiplied by first: clipping
  S correction1;           // 1 − β₁ᵗ
  S sqrt_correction2;      // √(1 − β₂ᵗ)
  S rest1 = S(1) - beta1;  // 1 − β₁ and 1 − β₂: computed in f64 they keep their digits in f32
  S rest2 = S(1) - beta2;
};

/// One weight: θ ← θ(1 − ηλ) − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
template <class T, class S>
LUCE_HD void adamw(const AdamWStep<S>& o, T g, T& weight, T& m, T& v) {
  g = g * o.gradient_scale;
  m = m + (g - m) * o.rest1;
  v = v * o.beta2 + g * g * o.rest2;
  const T denominator = sqrt_of(v) * (S(1) / o.sqrt_correction2) + o.epsilon;
  weight = weight * (S(1) - o.lr * o.decay) - m / denominator * (o.lr / o.correction1);
}

}  // namespace luce::kernels
