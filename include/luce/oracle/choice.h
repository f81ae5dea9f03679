// Models of choice between S answers. A preference table is [S, S] f64: p[i][j] = P(i ≻ j), with ½
// on its diagonal.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "luce/ops/tensor.h"

namespace luce::oracle {

/// Bradley–Terry: P(i ≻ j) = σ(r_i − r_j), from rewards [S]; [..., S] gives a table for each
/// prompt.
Tensor bradley_terry(const Tensor& reward);

/// What raters with rewards [K, S] say together, the k-th asked with probability weight[k]: [S, S].
Tensor mixture(const Tensor& weight, const Tensor& rewards);

/// Plackett–Luce: the log-probability that answers with scores [S] are ranked in this order, best
/// first: log Π_k e^{s_k} / Σ_{j≥k} e^{s_j}.
Tensor plackett_luce(const Tensor& score, const std::vector<int64_t>& order);

/// All orders of 0 … n−1, lexicographically.
std::vector<std::vector<int64_t>> permutations(int64_t n);

/// ΨPO's optimum (Azar et al., arXiv:2310.12036): π(y) ∝ π_ref(y) exp(E_{y'∼μ} Ψ(P(y ≻ y'))/τ),
/// log-probs [S], for the distribution μ [S] of the answers to compare with.
Tensor psi_optimum(const Tensor& log_ref, const Tensor& preference, const Tensor& mu,
                   const std::function<Tensor(const Tensor&)>& psi, double tau);

/// What y earns against a policy: E_{y'∼π} P(y ≻ y'), [S]. π: probabilities [S].
Tensor win_rate(const Tensor& preference, const Tensor& policy);

/// Self-play (Swamy et al., arXiv:2401.04056) by optimistic exponentiated gradient: each round π ∝
/// exp(step · Σ rewards so far, the last one counted twice), the reward being win_rate against the
/// round's own policy. Probabilities [S], averaged over the rounds.
Tensor averaged_self_play(const Tensor& preference, const Tensor& start, double step, int rounds);

/// The policy that is its own best answer under a KL penalty (Munos et al., arXiv:2312.00886):
/// π ∝ π_ref exp(win_rate(π)/τ), log-probs [S], by damped iteration from π_ref.
Tensor regularised_nash(const Tensor& log_ref, const Tensor& preference, double tau);

}  // namespace luce::oracle
