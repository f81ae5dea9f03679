// A set of answers that can be listed, with a gold reward, noisy labels, and reward models of them.
// Letters:
//   g gold reward      x(y) one-hot of an answer's tokens, [T·V]      r_k member k
//   r_k(y) = w_k · tanh(A_k x(y)) / √F       A_k drawn by its seed, w_k fitted
#pragma once

#include <cstdint>

#include "luce/base/random.h"
#include "luce/ops/tensor.h"

namespace luce {

struct GoldSetting {
  int64_t pairs = 150, members = 5, features = 60;
  double spread = 2;      // deviation of the reference's logits
  double sense = 0.7;     // how much of the gold reward is log π_ref: what the reference knows
  double ridge = 0.0003;  // of a member's weights
};

struct GoldWorld {
  Tensor one_hot, log_ref;  // [S, T·V], [S] log-probs
  Tensor gold;              // [S] of mean 0 and variance 1 under π_ref
  Tensor chosen, rejected;  // [n] i64: pairs of draws from π_ref, labelled by σ(g(a) − g(b))

  GoldWorld(const GoldSetting& setting, uint64_t seed);

  /// v with mean 0 and variance 1 under π_ref.
  Tensor standard(const Tensor& v) const;

 private:
  void label(int64_t pairs, const Random& random);
};

/// A member's score of every answer, [S], of mean 0 under π_ref: the weights minimise this
/// project's Bradley–Terry loss plus ridge · ‖w‖² on all pairs of the world.
Tensor fitted_member(const GoldWorld& world, const GoldSetting& setting, uint64_t seed);

}  // namespace luce
