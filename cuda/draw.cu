// Drawing a token at each row of logits, one block a row, without a sort: one read for the sums of
// softmax in running form (Milakov & Gimelshein, arXiv:1805.02867), one for the masses of parts of
// the row, and one part for the entry at which their running sum passes u · total (inversion of
// the distribution function). What top_k and top_p leave is found in between, in
// draw_restricted.cu.
#include "draw.cuh"

namespace luce::cuda {
namespace {

/// What y is made of where it is not the first model's z.
struct Mixture {
  Rows<float> first, second;  // second.data may be null
  float first_weight, second_weight;
  float penalty;
  float* y;  // null: y is z
  const int64_t *seen_offsets, *seen;

  __device__ __forceinline__ float value(float x, float x2) const {
    const float z = first.z(x);
    return second.data == nullptr ? z : first_weight * z + second_weight * second.z(x2);
  }

  /// z_v ← z_v / penalty where positive, else z_v · penalty (Keskar et al., arXiv:1909.05858).
  /// From the logits themselves: a token that is listed twice gets the same number twice.
  __device__ __forceinline__ void penalise(int64_t index, float* y_row) const {
    const float* row = first.row(index);
    const float* row2 = second.data == nullptr ? row : second.row(index);
    for (int64_t k = seen_offsets[index] + threadIdx.x; k < seen_offsets[index + 1];
         k += blockDim.x) {
      const int64_t id = seen[k];
      if (id < 0 || id >= first.size) continue;
      const float z = value(row[id], row2[id]);
      y_row[id] = z > 0 ? z / penalty : z * penalty;
    }
  }
};

/// Sums of the first model's softmax as head_statistics takes them, in the same order by the same
/// threads; and y.
__global__ void __launch_bounds__(kRowThreads, 2)
    prepare_kernel(Draw draw, Mixture mixture, bool tempers, DrawRow* out) {
  __shared__ RowState<float> slots[32];
  const Rows<float>& first = draw.first;
  const float* row = first.row(blockIdx.x);
  const float* row2 =
      mixture.second.data == nullptr ? row : mixture.second.row(blockIdx.x);  // read in any case
  float* y_row = mixture.y == nullptr ? nullptr : draw.y.row(blockIdx.x);
  RowState<float> plain = empty_row<float>(), tempered = empty_row<float>();
  walk(row, first.size, [&](int place, auto& x) {
    constexpr int N = std::extent_v<std::remove_reference_t<decltype(x)>>;
    float z[N];
    if (y_row != nullptr) {
      load<N>(row2 + place, N, z);
#pragma unroll
      for (int j = 0; j < N; ++j) z[j] = mixture.value(x[j], z[j]);
      store<N>(y_row + place, N, z);
    }
    if (tempers) {
#pragma unroll
      for (int j = 0; j < N; ++j) z[j] = draw.tempered.z(x[j]);
      add(tempered, place, z);
    }
#pragma unroll
    for (int j = 0; j < N; ++j) z[j] = first.z(x[j]);
    add(plain, place, z);
  });
  plain = block_merged(plain, slots);
  RowState<float> y = plain;
  if (tempers) {
    __syncthreads();  // the slots were read
    tempered = block_merged(tempered, slots);
  } else {
    tempered = plain;
  }
  if (y_row != nullptr) {
    // Since y was written the block has waited, where it merged its sums.
    if (mixture.seen_offsets != nullptr) mixture.penalise(blockIdx.x, y_row);
    __syncthreads();
    y = empty_row<float>();
    walk(y_row, first.size, [&](int place, auto& x) { add(y, place, x); });
    y = block_merged(y, slots);
  }
  if (threadIdx.x > 0) return;
  out[blockIdx.x] = {y.best,
                     y.best_id < first.size ? y.best_id : 0,  // in a row of NaN nothing is best
                     plain.sums.max,
                     kernels::log_of(plain.sums.exp),
                     tempered.sums.max,
                     kernels::log_of(tempered.sums.exp),
                     ~Fixed{0}};
}

/// The least y that min_p keeps, rounded up: y / T ≥ max / T + log min_p  (Nguyen et al.,
/// arXiv:2407.01082).
__device__ float least_kept(const Draw& draw, float max) {
  const double bound = max + draw.log_min_p / draw.inverse_temperature;
  const float least = static_cast<float>(bound);
  return least < bound ? ::nextafterf(least, HUGE_VALF) : least;
}

__global__ void __launch_bounds__(kRowThreads, 2)
    choose_kernel(Draw draw, const double* uniform, bool greedy, bool own, const DrawRow* rows,
                  DrawnToken* out) {
  __shared__ Fixed sums[kSums];
  const int64_t index = blockIdx.x;
  const DrawRow row = rows[index];
  const float* y_row = draw.y.row(index);
  Entry chosen{row.best, 0};
  if (!greedy) {
    const float least = least_kept(draw, row.max);
    const double u = uniform[index];
    const auto mass = [&](int place, float y) {
      const bool kept = rank_of(key_of(y), place) <= row.last && y >= least;
      return kept ? draw.mass(y, row.max) : 0;
    };
    chosen = entry_passing(draw.y, y_row, sums, mass, [&](Fixed total) {
      const auto limit = static_cast<Fixed>(u * static_cast<double>(total));
      return limit < total ? limit : total - (total > 0);  // the product may be rounded up
    });
    if (chosen.place >= draw.y.size) chosen.place = row.best;
  }
  if (threadIdx.x > 0) return;
  const float x = draw.first.row(index)[chosen.place];
  // Not z − lse, which loses digits where the logits are far from 0.
  const float log_prob = (draw.first.z(x) - row.plain_max) - row.plain_log_exp;
  const float tempered = (draw.tempered.z(x) - row.tempered_max) - row.tempered_log_exp;
  const double shift = static_cast<double>(draw.y.z(y_row[chosen.place])) - row.max;
  const double drawn = shift * draw.inverse_temperature -
                       ::log(static_cast<double>(chosen.total) / static_cast<double>(draw.unit));
  out[index] = {chosen.place, log_prob, tempered, greedy ? 0 : own ? drawn : tempered};
}

Draw draw_of(const DrawRows& rows, bool mixes) {
  const auto first = rows_of<float>(rows.first);
  LogitRows tempered = rows.first;
  const bool tempers = rows.temperature != 0 && rows.temperature != 1;
  if (tempers) tempered.map = rows.tempered;
  int bits = 0;
  while (int64_t{1} << bits < rows.first.vocabulary) ++bits;
  Draw out{first,
           first,
           rows_of<float>(tempered),
           1,
           rows.min_p > 0 ? ::log(rows.min_p) : -HUGE_VAL,
           rows.top_p,
           static_cast<float>(int64_t{1} << (62 - bits)),
           rows.top_k > 0 && rows.top_k < rows.first.vocabulary ? static_cast<int>(rows.top_k)
                                                                : INT_MAX};
  if (tempers) out.inverse_temperature = static_cast<float>(min(1 / rows.temperature, 1e38));
  if (mixes) out.y = {rows.mixed, first.size, first.size, true, {}};
  return out;
}

bool fits(const DrawRows& rows, bool mixes) {
  const LogitRows &first = rows.first, &second = rows.second;
  const bool second_fits = second.data == nullptr ||
                           (valid(second) && second.type == Type::f32 &&
                            second.rows == first.rows && second.vocabulary == first.vocabulary);
  return valid(first) && first.type == Type::f32 && second_fits && rows.temperature >= 0 &&
         rows.top_k >= 0 && rows.top_p > 0 && rows.min_p >= 0 && rows.min_p < 1 &&
         (!mixes || rows.mixed != nullptr) && (rows.temperature == 0 || rows.uniform != nullptr);
}

}  // namespace

int draw_tokens(const DrawRows& rows, void* working, DrawnToken* out, void* stream) {
  const bool has_second = rows.second.data != nullptr, penalises = rows.seen_offsets != nullptr;
  const bool greedy = rows.temperature == 0;
  const bool limits = rows.top_k > 0 || rows.top_p < 1;
  if (!fits(rows, has_second || penalises)) return cudaErrorInvalidValue;
  if (rows.first.rows == 0) return cudaSuccess;
  const Draw draw = draw_of(rows, has_second || penalises);
  const Grid grid{dim3(static_cast<unsigned>(rows.first.rows)), row_threads(draw.y.size)};
  auto* state = static_cast<DrawRow*>(working);
  const Mixture mixture{draw.first,
                        has_second ? rows_of<float>(rows.second) : Rows<float>{},
                        static_cast<float>(1 - rows.second_weight),
                        static_cast<float>(rows.second_weight),
                        static_cast<float>(rows.repetition_penalty),
                        has_second || penalises ? rows.mixed : nullptr,
                        rows.seen_offsets,
                        rows.seen};
  const bool tempers = !greedy && rows.temperature != 1;
  int error = launch(prepare_kernel, grid, stream, draw, mixture, tempers, state);
  if (error == 0 && !greedy && limits) error = draw_restrict(draw, rows.first.rows, state, stream);
  if (error != 0) return error;
  const bool own = limits || has_second || penalises || rows.min_p > 0;
  return launch(choose_kernel, grid, stream, draw, rows.uniform, greedy, own, state, out);
}

}  // namespace luce::cuda
