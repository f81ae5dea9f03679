// Drawing on the CPU in f32 and bf16. Arguments were checked.
#pragma once

#include "luce/ops/draw.h"

namespace luce::cpu {

Drawn draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
           const DrawOptions& options, DrawWorkspace& workspace);

/// A token and its log-prob among those that it was drawn from.
struct Choice {
  int64_t id;
  double logp;
};

/// Draws from one row of logits, on which mixture, penalty and temperature have been at work. z has
/// room for a multiple of kernels::kDrawTile entries. Uses all but the temperature, of which it
/// asks only whether it is 0.
class RowDraw {
 public:
  explicit RowDraw(const DrawOptions& options) : o_(options) {}
  Choice operator()(float* z, int64_t vocabulary, double u);

 private:
  struct Candidate {
    float z;
    int32_t id;
  };
  Choice from_all(const float* z, int64_t n, float max, double u);
  Choice from_kept(float max, double u);
  /// Makes candidates of at least the `count` likeliest entries.
  void collect(const float* z, int64_t n, int64_t count);
  void take(const float* z, int64_t n, float least);
  void keep_top_k();
  void keep_top_p(const float* z, int64_t n, float max);

  DrawOptions o_;
  std::vector<float> maxima_, order_, sums_;
  std::vector<int32_t> ids_;
  std::vector<Candidate> candidates_;
};

}  // namespace luce::cpu
