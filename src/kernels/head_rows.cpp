// Rows of logits: the statistics of softmax rows, their gradients, and divergences of two of them.
// A target is a lane: tiles are [entries of the vocabulary, targets], see kernels.h.
#include "kernels/isa.h"

namespace luce::kernels::LUCE_ISA {
namespace {

template <class Fn>
LUCE_HD void for_targets(int64_t width, const Fn& fn) {
  for (int64_t t = 0; t < width; t += kLanes) fn(t);
}

LUCE_HD RowSums<Vec> load(const SumArrays& s, int64_t t) {
  return {Vec::load(s.max + t), Vec::load(s.exp + t), Vec::load(s.shifted + t),
          Vec::load(s.square + t), Vec::load(s.total + t)};
}
LUCE_HD void store(const RowSums<Vec>& x, const SumArrays& s, int64_t t) {
  x.max.store(s.max + t);
  x.exp.store(s.exp + t);
  x.shifted.store(s.shifted + t);
  x.square.store(s.square + t);
  x.total.store(s.total + t);
}

/// Maps x to z in place; the largest z and, where asked for, the first entry that has it.
struct Largest {
  Vec max;
  Ints where;
};
LUCE_HD Largest map_tile(float* z, int64_t n, int64_t ld, int64_t t, int64_t first,
                         const LogitMap<float>& map, bool finds) {
  const bool maps = map.scale != 1 || map.cap != 0;
  Largest out{-__builtin_inff(), Ints{} + static_cast<int32_t>(first)};
  for (int64_t v = 0; v < n; ++v) {
    float* at = z + v * ld + t;
    Vec x = Vec::load(at);
    if (maps) {
      x = map.value(x);
      x.store(at);
    }
    if (finds) out.where = x.v > out.max.v ? Ints{} + static_cast<int32_t>(first + v) : out.where;
    out.max = max_of(x, out.max);
  }
  return out;
}

/// Takes a tile's largest where it is above what came `before`.
LUCE_HD void keep_largest(const Largest& tile, Vec before, int32_t* best) {
  Ints kept;
  __builtin_memcpy(&kept, best, kBytes);
  kept = tile.max.v > before.v ? tile.where : kept;
  __builtin_memcpy(best, &kept, kBytes);
}

LUCE_HD DivergenceTerm<Vec> divergence(DivergenceKind kind, Vec log_p, Vec log_q, float beta) {
  if (kind == DivergenceKind::forward_kl) return kl_forward(log_p, log_q);
  if (kind == DivergenceKind::reverse_kl) return kl_reverse(log_p, log_q);
  return jensen_shannon(log_p, log_q, beta);
}

}  // namespace

void head_sums(float* z, int64_t n, int64_t width, int64_t ld, int64_t first,
               const LogitMap<float>& map, SumArrays sums, int32_t* best) {
  for_targets(width, [&](int64_t t) {
    const Largest top = map_tile(z, n, ld, t, first, map, best != nullptr);
    RowSums<Vec> tile{max_of(top.max, lowest_of(top.max)), Vec(0.0F), Vec(0.0F), Vec(0.0F),
                      Vec(0.0F)};
    for (int64_t v = 0; v < n; ++v) {
      const Vec x = Vec::load(z + v * ld + t);
      // 0 · −∞ must be 0 below, and a NaN must stay one.
      const Vec shift = x - tile.max, e = exp_of(shift);
      tile.exp = tile.exp + e;
      tile.shifted = tile.shifted + e * max_of(shift, lowest_of(x));
      tile.square = tile.square + e * e;
      tile.total = tile.total + x;
    }
    const RowSums<Vec> before = load(sums, t);
    if (best != nullptr) keep_largest(top, before.max, best + t);
    store(merged(before, tile), sums, t);
  });
}

void head_log_sums(float* z, int64_t n, int64_t width, int64_t ld, int64_t first,
                   const LogitMap<float>& map, float* max, float* exp, int32_t* best) {
  const Vec zero(0.0F);
  for_targets(width, [&](int64_t t) {
    const Largest top = map_tile(z, n, ld, t, first, map, best != nullptr);
    RowSums<Vec> tile{max_of(top.max, lowest_of(top.max)), zero, zero, zero, zero};
    for (int64_t v = 0; v < n; ++v)
      tile.exp = tile.exp + exp_of(Vec::load(z + v * ld + t) - tile.max);
    const RowSums<Vec> before{Vec::load(max + t), Vec::load(exp + t), zero, zero, zero};
    if (best != nullptr) keep_largest(top, before.max, best + t);
    const RowSums<Vec> both = merged(before, tile);
    both.max.store(max + t);
    both.exp.store(exp + t);
  });
}

void head_gradient(float* z, int64_t n, int64_t width, int64_t ld, SlopeArrays s,
                   const LogitMap<float>& map) {
  const bool plain = map.cap == 0;
  for_targets(width, [&](int64_t t) {
    const Vec lse = Vec::load(s.lse + t);
    const RowSlopes<Vec> slopes{Vec::load(s.a + t), Vec::load(s.b + t), Vec::load(s.c + t),
                                Vec::load(s.m + t)};
    for (int64_t v = 0; v < n; ++v) {
      float* at = z + v * ld + t;
      const Vec x = Vec::load(at);
      const Vec dz = logit_gradient(slopes, x - lse);
      (plain ? dz * map.scale : dz * map.slope(x)).store(at);
    }
  });
}

void divergence_sums(const float* p, const float* q, int64_t n, int64_t width, int64_t ld,
                     const float* p_lse, const float* q_lse, DivergenceKind kind, float beta,
                     float* value, float* slope_sum) {
  for_targets(width, [&](int64_t t) {
    const Vec lp = Vec::load(p_lse + t), lq = Vec::load(q_lse + t);
    Vec d(0.0F), f(0.0F);
    for (int64_t v = 0; v < n; ++v) {
      const int64_t at = v * ld + t;
      const auto term = divergence(kind, Vec::load(p + at) - lp, Vec::load(q + at) - lq, beta);
      d = d + term.value;
      f = f + term.slope;
    }
    (Vec::load(value + t) + d).store(value + t);
    (Vec::load(slope_sum + t) + f).store(slope_sum + t);
  });
}

void divergence_gradient(float* p, const float* q, int64_t n, int64_t width, int64_t ld,
                         const float* p_lse, const float* q_lse, DivergenceKind kind, float beta,
                         const float* slope_sum, const float* upstream,
                         const LogitMap<float>& map) {
  for_targets(width, [&](int64_t t) {
    const Vec lp = Vec::load(p_lse + t), lq = Vec::load(q_lse + t);
    const Vec sum = Vec::load(slope_sum + t), g = Vec::load(upstream + t);
    for (int64_t v = 0; v < n; ++v) {
      const int64_t at = v * ld + t;
      const Vec x = Vec::load(p + at), log_p = x - lp;
      const Vec slope = divergence(kind, log_p, Vec::load(q + at) - lq, beta).slope;
      (g * (slope - exp_of(log_p) * sum) * map.slope(x)).store(p + at);
    }
  });
}

}  // namespace luce::kernels::LUCE_ISA
