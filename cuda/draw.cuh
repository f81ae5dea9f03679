// What the kernels that draw tokens share: the mass of an entry, and the search along a running
// sum.
//
// y is what mixture and penalty make of a row's logits. The mass of an entry is exp((y − max) / T)
// in fixed point, so that sums are exact: they have no order to depend on, and atomics may add
// them.
#pragma once

#include "rows.cuh"

namespace luce::cuda {

/// A mass, a sum of them, a number of entries, or an entry's rank.
using Fixed = unsigned long long;

/// What the kernels tell each other of a row.
struct DrawRow {
  float max;  // the largest y, and its first place
  int best;
  float plain_max, plain_log_exp;        // z − max − log_exp is a log-prob of the first model,
  float tempered_max, tempered_log_exp;  // at temperature 1 and as asked for
  Fixed last;                            // entries of up to this rank stay
};
static_assert(sizeof(DrawRow) == kDrawRowBytes);

/// DrawRows for a kernel.
struct Draw {
  Rows<float> y, first, tempered;
  float inverse_temperature;
  double log_min_p;  // −∞: all
  double top_p;
  float unit;  // the mass of the likeliest: that of a whole row stays below 2⁶³
  int top_k;   // INT_MAX: all

  __device__ __forceinline__ Fixed mass(float value, float max) const {
    const float e = kernels::exp_of((value - max) * inverse_temperature);
    return e > 0 ? static_cast<Fixed>(e * unit) : 0;  // false for a NaN
  }
};

/// Ascends where y falls; −0 has the key of 0, and a NaN that of −∞.
__device__ __forceinline__ unsigned key_of(float y) {
  if (!(y == y)) y = -HUGE_VALF;
  if (y == 0) y = 0;
  unsigned bits;
  memcpy(&bits, &y, sizeof(bits));
  return bits >> 31 != 0 ? bits : ~(bits | 0x80000000U);
}
/// Ascends from the likeliest entry to the least likely; no two entries have the same.
__device__ __forceinline__ Fixed rank_of(unsigned key, int id) {
  return static_cast<Fixed>(key) << 32 | static_cast<unsigned>(id);
}

/// Numbers in shared memory that a search goes along.
inline constexpr int kSums = 2048;

struct Passed {
  int at;        // the first number whose running sum is above the limit; kSums: none
  Fixed before;  // the sum of those before it
  Fixed limit, total;
};

/// Where the running sum of kSums numbers passes limit_of(their total); the same in every thread.
template <class Limit>
__device__ Passed passed(const Fixed* sums, const Limit& limit_of) {
  constexpr int kEach = kSums / 32;
  __shared__ Passed found;
  __shared__ Fixed parts[32];
  __syncthreads();  // the numbers are there, and an earlier result was read
  if (threadIdx.x < 32) {
    const int lane = static_cast<int>(threadIdx.x);
    Fixed own = 0;
    // Each lane begins elsewhere in its part, so that the lanes read different banks.
    for (int i = 0; i < kEach; ++i) own += sums[lane * kEach + (i + lane) % kEach];
    parts[lane] = own;
    __syncwarp();
    Fixed before = 0, total = 0;
    for (int i = 0; i < 32; ++i) {
      if (i == lane) before = total;
      total += parts[i];
    }
    const Fixed limit = limit_of(total);
    if (lane == 0) found = {kSums, total, limit, total};
    __syncwarp();
    if (before <= limit && limit - before < own) {  // one lane, or none
      int at = lane * kEach;
      while (before + sums[at] <= limit) before += sums[at++];
      found = {at, before, limit, total};
    }
  }
  __syncthreads();
  return found;
}

struct Entry {
  int place;  // `size`: none
  Fixed total;
};

/// The first entry of a row at which the running sum of weight(place, y) passes limit_of(total): by
/// sums over parts of the row, then inside the part. `sums` is shared memory for kSums numbers.
template <class Weight, class Limit>
__device__ Entry entry_passing(const Rows<float>& y, const float* row, Fixed* sums,
                               const Weight& weight, const Limit& limit_of) {
  constexpr int kStep = 128;  // entries that a warp takes at a time
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32, threads = static_cast<int>(blockDim.x);
  int begin = 0, size = y.size;
  Fixed before = 0, limit = 0, total = 0;
  for (bool whole = true;; whole = false) {
    const int steps = (size - 1) / (kStep * kSums) + 1;
    const int part = size <= kSums ? 1 : kStep * max(4, steps);
    const int parts = (size - 1) / part + 1;
    for (int i = static_cast<int>(threadIdx.x); i < kSums; i += threads)
      sums[i] = part == 1 && i < size ? weight(begin + i, y.z(row[begin + i])) : 0;
    __syncthreads();
    for (int p = warp; part > 1 && p < parts; p += warps) {
      const int first = begin + p * part, last = first + min(part, size - p * part);
      Fixed sum = 0;
      for (int at = first + lane * 4; at < last; at += kStep) {
        float x[4];
        load<4>(row + at, last - at, x);
#pragma unroll
        for (int j = 0; j < 4; ++j)
          if (at + j < last) sum += weight(at + j, y.z(x[j]));
      }
      sum = warp_sum(sum);
      if (lane == 0) sums[p] = sum;
    }
    const Passed found =
        passed(sums, [&](Fixed all) { return whole ? limit_of(all) : limit - before; });
    if (whole) {
      limit = found.limit;
      total = found.total;
    }
    if (found.at == kSums) return {y.size, total};
    before += found.before;
    begin += found.at * part;
    size = min(part, size - found.at * part);
    if (part == 1) return {begin, total};
  }
}

/// Writes how far the rows' entries stay under top_k and top_p.
int draw_restrict(const Draw& draw, int64_t rows, DrawRow* out, void* stream);

}  // namespace luce::cuda
