// The shared log-prob path: log-softmax statistics of `hidden @ weightᵀ` at the scored targets.
// Logits exist for one chunk of rows at a time, in f32 or wider, within a stated budget.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "luce/ops/tensor.h"

namespace luce {

/// What logits go through before the softmax:
///   z = logit_scale · x / temperature,  or with a cap  c · tanh(logit_scale · x / c) / temperature
struct LogitOptions {
  double temperature = 1;  // above 0
  double logit_scale = 1;
  double softcap = 0;  // c; 0: none
};

/// Further tokens whose log-probs are wanted at each target: ids[offset[m] … offset[m+1]) at m.
struct Candidates {
  std::vector<int64_t> offset;  // [M+1], ascending from 0
  Tensor ids;                   // [K] i64
};

/// A buffer that calls share, so that it is allocated once.
struct HeadWorkspace {
  Tensor logits;
};

/// How much of the vocabulary's logits was held, for the log.
struct HeadUse {
  int64_t rows_per_chunk = 0;
  int64_t chunks = 0;
  int64_t recomputed_units = 0;  // units larger than the budget: their logits were computed twice
};

struct HeadOptions {
  int64_t chunk_bytes = int64_t{64} << 20;  // most logits held at once
  int64_t max_chunk_bytes = 0;  // up to this the budget grows to the largest unit; 0: it does not
  bool entropy = false;         // H = −Σ p log p
  bool log_sum_p2 = false;      // log Σ p²
  bool greedy_match = false;    // 1 where the target has the largest logit
  bool mean_logit = false;      // mean over the vocabulary
  int64_t top_k = 0;            // the k likeliest tokens
  const Candidates* candidates = nullptr;
  LogitOptions logits;
  HeadWorkspace* workspace = nullptr;
  HeadUse* use = nullptr;  // added to
};

/// Per scored target; what was not asked for is undefined. f32 (f64 for f64 inputs), no gradient.
struct HeadStats {
  Tensor logps;            // [M] log p(target), nats
  Tensor entropy;          // [M] nats
  Tensor log_sum_p2;       // [M]
  Tensor greedy_match;     // [M] 0 or 1
  Tensor mean_logit;       // [M]
  Tensor top_ids;          // [M, k] i64, likeliest first
  Tensor top_logps;        // [M, k]
  Tensor candidate_logps;  // [K] in the order of Candidates::ids
};

/// Statistics of successive targets put together.
HeadStats joined_stats(const std::vector<HeadStats>& parts);

/// ∂loss/∂statistic, in the shapes of HeadStats; undefined is 0. What cannot be differentiated
/// (greedy_match, top_ids, top_logps) has no place here.
struct HeadGradients {
  Tensor logps, entropy, log_sum_p2, mean_logit, candidate_logps;
};

/// Statistics alone, without a gradient.
/// hidden [M, D] and weight [V, D] of one float dtype, targets [M] i64 in [0, V).
/// Throws ArgumentError on shapes that do not fit, a token outside the vocabulary or options out of
/// range.
HeadStats head(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
               const HeadOptions& options);

/// All logits of some rows, for a sampler.
struct Logits {
  Tensor values;  // [M, V] z, f32 (f64 for f64 inputs)
  Tensor lse;  // [M] log Σ exp z: values − lse are the log-probs that head gives, on a CPU bit
               // by bit, on a GPU within rounding
};
Logits head_logits(const Tensor& hidden, const Tensor& weight, const LogitOptions& options = {});

/// A range of scored targets.
struct Range {
  int64_t begin = 0, end = 0;
};

/// Given the statistics of targets [begin, end), returns the loss's gradients there.
using HeadLoss = std::function<HeadGradients(const HeadStats&, Range)>;

/// Statistics with the loss inside: gradients are finished chunk by chunk, in three matrix
/// products. With p = softmax(z) and gradients g of log-probs, h of the entropy, s of log Σp² and m
/// of the mean logit:
///
///   dz_v = Σ_k g_k (1[v = token_k] − p_v) − h p_v (log p_v + H) + 2 s p_v (p_v/Σp² − 1) + m/V
///
/// over the target and the row's candidates. `units` (ascending, from 0 to M) are the places where
/// the loss may be cut: a chunk holds whole units, and one that is larger than the budget takes two
/// passes over its own rows (statistics, loss, logits again). *Adds* to d_hidden [M, D] (the
/// activations' dtype) and, where it is defined, to d_weight [V, D] (f32, or f64 for f64 weights).
/// Returns the statistics of all targets.
HeadStats head_backward(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        const std::vector<int64_t>& units, const HeadOptions& options,
                        const HeadLoss& fn, Tensor d_hidden, Tensor d_weight);

/// One of two distributions over a vocabulary.
struct HeadSide {
  Tensor hidden;  // [M, D]
  Tensor weight;  // [V, D]
  LogitOptions logits;
};

enum class Divergence {
  forward_kl,  // KL(p ‖ q) = Σ p (log p − log q)
  reverse_kl,  // KL(q ‖ p)
  jensen_shannon,  // β KL(q ‖ m) + (1 − β) KL(p ‖ m),  m = β q + (1 − β) p  (arXiv:2306.13649)
};

struct DivergenceOptions {
  Divergence kind = Divergence::forward_kl;
  double beta = 0.5;                        // of jensen_shannon, in (0, 1)
  int64_t chunk_bytes = int64_t{64} << 20;  // most logits held at once, both sides together
  HeadWorkspace* workspace = nullptr;
};

/// The exact divergence of p and q at every row, in nats: [M]. The sides may differ in width, not
/// in vocabulary or dtype. Throws ArgumentError on shapes that do not fit.
Tensor head_divergence(const HeadSide& p, const HeadSide& q, const DivergenceOptions& options);

/// The same with its gradient to p for `upstream` [M] = ∂loss/∂divergence: *adds* to d_hidden [M,
/// D] and, where it is defined, to d_weight [V, D], as head_backward does. q is constant.
Tensor head_divergence_backward(const HeadSide& p, const HeadSide& q,
                                const DivergenceOptions& options, const Tensor& upstream,
                                Tensor d_hidden, Tensor d_weight);

}  // namespace luce
