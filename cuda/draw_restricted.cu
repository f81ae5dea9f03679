// The likeliest entries of a row that top_k and top_p keep, without a sort: a radix selection from
// the top. A histogram of numbers or masses says in which bin of keys the last kept entry lies;
// then that bin alone is looked at, until its entries are few enough to be compared with each
// other, or all are equal.
//
//   top_k   the entries with fewer than k likelier ones
//   top_p   those with less than p of the mass before them (Holtzman et al., arXiv:1904.09751)
//
// So both keep what lies before the place where a running sum in order of likelihood passes a
// limit. Sums are exact integers.
#include "draw.cuh"

namespace luce::cuda {
namespace {

inline constexpr int kRoom = 1024;

struct Candidate {
  Fixed rank, weight;
};

struct Selection {
  Fixed sums[kSums];
  Candidate list[kRoom];
  int count;
  unsigned low, high;  // the least and the largest key of the bin
  Fixed last;
};

/// The first bins follow the leading bits of max − y, 128 for each doubling from 2⁻⁸ to 2⁸: logits
/// crowd in few values of a key's leading bits, and atomics on few bins would wait for each other.
/// Rounding keeps the order.
__device__ __forceinline__ int distance_bin(float distance) {
  unsigned bits;
  memcpy(&bits, &distance, sizeof(bits));
  const int bin = static_cast<int>(bits >> 16) - ((127 - 8) << 7);
  return bin < 0 ? 0 : min(bin, kSums - 1);
}

/// Bits to leave out so that a range of keys has no more than kSums bins.
__device__ __forceinline__ int shift_for(unsigned range) {
  int shift = 0;
  while (range >> shift >= kSums) ++shift;
  return shift;
}

/// The rank of the entry at which the running sum of weight(y, rank), from the likeliest entry on,
/// passes limit_of(total); `otherwise` where it never does.
template <class Weight, class Limit>
__device__ Fixed select(const Rows<float>& y, const float* row, float max, Selection& s,
                        Fixed otherwise, const Weight& weight, const Limit& limit_of) {
  unsigned low = 0, high = UINT_MAX;
  Fixed before = 0, limit = 0;
  for (bool whole = true;; whole = false) {
    const int shift = shift_for(high - low);
    /// Calls fn(bin, rank, weight) for what is in question.
    const auto walk_range = [&](const auto& fn) {
      walk(row, y.size, [&](int place, auto& x) {
#pragma unroll
        for (int j = 0; j < static_cast<int>(std::extent_v<std::remove_reference_t<decltype(x)>>);
             ++j) {
          const float value = y.z(x[j]);
          const unsigned key = key_of(value);
          if (key < low || key > high) continue;
          const Fixed rank = rank_of(key, place + j), w = weight(value, rank);
          if (w > 0) fn(whole ? distance_bin(max - value) : (key - low) >> shift, rank, w);
        }
      });
    };
    for (int i = static_cast<int>(threadIdx.x); i < kSums; i += static_cast<int>(blockDim.x))
      s.sums[i] = 0;
    if (threadIdx.x == 0) {
      s.count = 0;
      s.low = UINT_MAX;
      s.high = 0;
    }
    __syncthreads();
    walk_range([&](int bin, Fixed, Fixed w) { atomicAdd(&s.sums[bin], w); });
    const Passed found =
        passed(s.sums, [&](Fixed total) { return whole ? limit_of(total) : limit - before; });
    if (found.at == kSums) return otherwise;
    if (whole) limit = found.limit;
    before += found.before;
    walk_range([&](int bin, Fixed rank, Fixed w) {
      if (bin != found.at) return;
      const unsigned key = static_cast<unsigned>(rank >> 32);
      atomicMin(&s.low, key);
      atomicMax(&s.high, key);
      const int i = atomicAdd(&s.count, 1);
      if (i < kRoom) s.list[i] = {rank, w};
    });
    __syncthreads();
    if (s.count <= kRoom) {
      for (int i = static_cast<int>(threadIdx.x); i < s.count; i += static_cast<int>(blockDim.x)) {
        Fixed sum = before;
        for (int j = 0; j < s.count; ++j)
          if (s.list[j].rank < s.list[i].rank) sum += s.list[j].weight;
        if (sum <= limit && limit - sum < s.list[i].weight) s.last = s.list[i].rank;  // one
      }
      __syncthreads();
      return s.last;
    }
    low = s.low;
    high = s.high;
    __syncthreads();  // all have read them
    if (low < high) continue;
    // Equals, more than there is room for: the first in the vocabulary count as likelier.
    const Entry entry = entry_passing(
        y, row, s.sums,
        [&](int place, float value) {
          return key_of(value) == low ? weight(value, rank_of(low, place)) : 0;
        },
        [&](Fixed) { return limit - before; });
    return rank_of(low, entry.place);
  }
}

__global__ void __launch_bounds__(kRowThreads, 2) restrict_kernel(Draw draw, DrawRow* rows) {
  __shared__ Selection s;
  const float* row = draw.y.row(blockIdx.x);
  const float max = rows[blockIdx.x].max;
  Fixed last = ~Fixed{0};
  if (draw.top_k < INT_MAX)
    last = select(
        draw.y, row, max, s, last, [](float y, Fixed) { return Fixed{y > -HUGE_VALF}; },
        [&](Fixed) { return static_cast<Fixed>(draw.top_k - 1); });
  __syncthreads();
  if (draw.top_p < 1)
    last = select(
        draw.y, row, max, s, last,
        [&](float y, Fixed rank) { return rank <= last ? draw.mass(y, max) : 0; },
        [&](Fixed total) {
          const auto wanted = static_cast<Fixed>(::ceil(draw.top_p * static_cast<double>(total)));
          return wanted > 0 ? wanted - 1 : 0;
        });
  if (threadIdx.x == 0) rows[blockIdx.x].last = last;
}

}  // namespace

int draw_restrict(const Draw& draw, int64_t rows, DrawRow* out, void* stream) {
  const Grid grid{dim3(static_cast<unsigned>(rows)), row_threads(draw.y.size)};
  return launch(restrict_kernel, grid, stream, draw, out);
}

}  // namespace luce::cuda
