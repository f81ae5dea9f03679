// The shared log-prob path: log-softmax statistics of `hidden @ weightᵀ` at the scored targets.
// Logits exist for one chunk of rows at a time, in f32 or wider, within a stated budget.
#pragma once

#include <functional>
#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

struct HeadOptions {
  int64_t chunk_bytes = int64_t{64} << 20;  // most logits held at once
  bool entropy = false;                     // H = −Σ p log p
  bool greedy_match = false;                // 1 where the target has the largest logit
  bool mean_logit = false;                  // mean over the vocabulary
};

/// Per scored target; what was not asked for is undefined. f32 (f64 for f64 inputs), no gradient.
struct HeadStats {
  Tensor logps;         // [M] log p(target), nats
  Tensor entropy;       // [M] nats
  Tensor greedy_match;  // [M] 0 or 1
  Tensor mean_logit;    // [M]
};

/// Statistics alone, without a gradient.
/// hidden [M, D] and weight [V, D] of one float dtype, targets [M] i64 in [0, V).
/// Throws ArgumentError on shapes that do not fit or a target outside the vocabulary.
HeadStats head(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
               const HeadOptions& options);

/// A range of scored targets.
struct Range {
  int64_t begin = 0, end = 0;
};

/// Given the statistics of targets [begin, end), returns ∂loss/∂logps there: [end − begin].
using HeadLoss = std::function<Tensor(const HeadStats&, Range)>;

/// Statistics with the loss inside: gradients are finished chunk by chunk, in three matrix
/// products.
///
///   dz[m, v] = g_m (1[v = target_m] − p[m, v]),   g = fn(stats)
///
/// `units` (ascending, from 0 to M) are the places where the loss may be cut: a chunk holds whole
/// units, and one that is larger than the budget takes two passes over its own rows (statistics,
/// loss, logits again). *Adds* to d_hidden [M, D] (the activations' dtype) and, where it is
/// defined, to d_weight [V, D] (f32, or f64 for f64 weights). Returns the statistics of all
/// targets.
HeadStats head_backward(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        const std::vector<int64_t>& units, const HeadOptions& options,
                        const HeadLoss& fn, Tensor d_hidden, Tensor d_weight);

/// Exact divergence KL(p ‖ q) of two heads over one vocabulary, per row: Σ_v p (log p − log q).
/// hidden [M, D₁], weight [V, D₁]; q_hidden [M, D₂], q_weight [V, D₂]. Returns [M], nats.
Tensor head_kl(const Tensor& hidden, const Tensor& weight, const Tensor& q_hidden,
               const Tensor& q_weight, const HeadOptions& options);

}  // namespace luce
