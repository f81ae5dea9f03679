// One row of logits that something was done to: candidates are found by the maxima of small parts
// of the row, so that no more than a few entries are ever ordered.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/kernels.h"
#include "ops/draw_cpu.h"

namespace luce::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

}  // namespace

Choice RowDraw::operator()(float* z, int64_t vocabulary, double u) {
  const int64_t n = (vocabulary + kernels::kDrawTile - 1) / kernels::kDrawTile * kernels::kDrawTile;
  std::fill(z + vocabulary, z + n, kNone);
  maxima_.resize(static_cast<size_t>(n / 16));
  kernels::table().row_maxima(n, z, maxima_.data());
  const float max = *std::max_element(maxima_.begin(), maxima_.end());
  candidates_.clear();
  if (o_.temperature == 0) {
    const auto at = std::find(z, z + vocabulary, max) - z;
    return {at < vocabulary ? at : 0, 0};  // a row of NaN has no largest
  }
  const bool top_k = o_.top_k > 0 && o_.top_k < vocabulary;
  if (!top_k && o_.top_p == 1 && o_.min_p == 0) return from_all(z, n, max, u);
  const float least = o_.min_p > 0 ? max + static_cast<float>(std::log(o_.min_p)) : kNone;
  if (top_k) {
    collect(z, n, o_.top_k);
    keep_top_k();
  } else if (o_.top_p == 1) {
    take(z, n, least);
  }
  if (o_.top_p < 1) keep_top_p(z, n, max);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.z < least; });
  std::sort(candidates_.begin(), candidates_.end(),
            [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  return from_kept(max, u);
}

Choice RowDraw::from_all(const float* z, int64_t n, float max, double u) {
  sums_.resize(static_cast<size_t>(n / kernels::kDrawTile));
  kernels::table().row_sums(n, z, max, sums_.data());
  double total = 0;
  for (const float s : sums_) total += s;
  double left = u * total;
  size_t tile = 0, last = 0;  // the last tile with any mass, should rounding pass them all
  for (; tile < sums_.size(); ++tile) {
    if (sums_[tile] > 0) last = tile;
    if (left < sums_[tile]) break;
    left -= sums_[tile];
  }
  if (tile == sums_.size()) tile = last;
  int64_t id = static_cast<int64_t>(tile) * kernels::kDrawTile;
  int64_t chosen = id;
  for (const int64_t end = id + kernels::kDrawTile; id < end; ++id) {
    const float p = std::exp(z[id] - max);
    if (p > 0) chosen = id;
    left -= p;
    if (left < 0) break;
  }
  return {chosen, z[chosen] - max - std::log(total)};
}

Choice RowDraw::from_kept(float max, double u) {
  if (candidates_.empty()) return {0, std::numeric_limits<double>::quiet_NaN()};
  double total = 0;
  for (const auto& c : candidates_) total += std::exp(c.z - max);
  double left = u * total;
  Candidate chosen = candidates_.front();
  for (const auto& c : candidates_) {
    const float p = std::exp(c.z - max);
    if (p > 0) chosen = c;
    left -= p;
    if (left < 0) break;
  }
  return {chosen.id, chosen.z - max - std::log(total)};
}

void RowDraw::take(const float* z, int64_t n, float least) {
  ids_.resize(static_cast<size_t>(n));
  const int64_t count = kernels::table().row_above(n, z, least, ids_.data());
  candidates_.clear();
  for (int64_t i = 0; i < count; ++i) {
    const int32_t id = ids_[static_cast<size_t>(i)];
    if (z[id] > kNone) candidates_.push_back({z[id], id});
  }
}

void RowDraw::collect(const float* z, int64_t n, int64_t count) {
  // The count-th largest of the parts' maxima: as many entries are at least as likely.
  float least = kNone;
  if (count <= static_cast<int64_t>(maxima_.size())) {
    order_ = maxima_;
    const auto at = order_.begin() + (count - 1);
    std::nth_element(order_.begin(), at, order_.end(), std::greater<>());
    least = *at;
  }
  take(z, n, least);
}

namespace {

/// Whether a comes before b: likelier, or of equals the first.
template <class C>
bool likelier(const C& a, const C& b) {
  return a.z != b.z ? a.z > b.z : a.id < b.id;
}

}  // namespace

void RowDraw::keep_top_k() {
  const auto k = static_cast<size_t>(o_.top_k);
  if (candidates_.size() <= k) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + o_.top_k, candidates_.end(),
                   likelier<Candidate>);
  candidates_.resize(k);
}

void RowDraw::keep_top_p(const float* z, int64_t n, float max) {
  const auto mass = [&](auto begin, auto end) {
    double sum = 0;
    for (; begin != end; ++begin) sum += std::exp(begin->z - max);
    return sum;
  };
  double wanted = 0;
  if (!candidates_.empty()) {  // top_k was there before
    wanted = o_.top_p * mass(candidates_.begin(), candidates_.end());
  } else {
    sums_.resize(static_cast<size_t>(n / kernels::kDrawTile));
    kernels::table().row_sums(n, z, max, sums_.data());
    for (const float s : sums_) wanted += o_.top_p * s;
    for (int64_t count = 32;; count *= 8) {
      collect(z, n, count);
      if (count > static_cast<int64_t>(maxima_.size()) ||
          mass(candidates_.begin(), candidates_.end()) >= wanted)
        break;
    }
  }
  // The fewest that reach `wanted` are more than `low` and no more than `high`: their number is
  // bisected, and each half ordered only as far as that.
  auto low = candidates_.begin(), high = candidates_.end();
  double before = 0;
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, likelier<Candidate>);
    const double half = mass(low, middle);
    if (before + half >= wanted) {
      high = middle;
    } else {
      before += half;
      low = middle;
    }
  }
  candidates_.erase(high, candidates_.end());
}

}  // namespace luce::cpu
