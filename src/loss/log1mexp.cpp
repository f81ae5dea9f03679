#include "luce/loss/log1mexp.h"

#include <ATen/ATen.h>

#include <cmath>

namespace luce {

namespace {

constexpr double kLargest = -0x1p-52;

}  // namespace

Tensor log1mexp(const Tensor& x) {
  const Tensor below = x.clamp_max(kLargest);
  // Each branch gets an argument that is harmless where the other one is taken: its gradient there
  // is multiplied by 0, which does not make an infinity vanish.
  const Tensor near = below.gt(-M_LN2);
  const Tensor small = at::where(near, below, at::full_like(below, -M_LN2));
  const Tensor large = at::where(near, at::full_like(below, -M_LN2), below);
  return at::where(near, (-at::expm1(small)).log(), at::log1p(-large.exp()));
}

}  // namespace luce
