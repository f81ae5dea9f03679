// The CUDA kernels, as C++ sees them.
//
// Pointers are device memory unless said otherwise, `stream` is a cudaStream_t, and every function
// only queues work. It returns 0, or the error code of CUDA that cuda_error_text explains. Sizes
// of 0 are no error. Results are deterministic: the same call gives the same bits. "Wide" below is
// the type of statistics: f64 where the data are f64, f32 otherwise.
#pragma once

#include <cstdint>

#include "kernels/formulas.h"

namespace luce::cuda {

enum class Type { f32, f64, bf16 };

const char* cuda_error_text(int error);

// --- Rows of logits ------------------------------------------------------------------------------

/// Logits [rows, vocabulary], f32 or f64; 1 ≤ vocabulary < 2³⁰.
struct LogitRows {
  Type type = Type::f32;
  void* data = nullptr;
  int64_t rows = 0, vocabulary = 0;
  int64_t stride = 0;  // elements from row to row
  kernels::LogitMap<double> map;
  bool mapped = false;  // data hold map.value(x) already
};

/// One number per row, [rows] of the logits' type; null: not wanted, or a gradient of 0.
struct RowStatistics {
  void* log_prob = nullptr;  // at the target
  void* lse = nullptr;
  void* entropy = nullptr;
  void* log_sum_p2 = nullptr;
  void* greedy_match = nullptr;  // 1 where the target is the first of the largest logits, else 0
  void* mean_logit = nullptr;
};

/// ∂loss/∂statistic, [rows] of the logits' type; null is 0.
struct RowGradients {
  const void* log_prob = nullptr;
  const void* entropy = nullptr;
  const void* log_sum_p2 = nullptr;
  const void* mean_logit = nullptr;
};

/// Further tokens of each row: entries [offsets[row], offsets[row + 1]). A token may be there
/// twice, and may be the target.
struct CandidateList {
  const int64_t* offsets = nullptr;  // [rows + 1]; null: no candidates
  const int64_t* ids = nullptr;
  void* log_probs = nullptr;        // of the logits' type
  const void* gradients = nullptr;  // of log_probs
};

/// Where gradients of logits go.
struct GradientRows {
  void* data = nullptr;  // null: in place of the logits
  Type type = Type::f32;
  int64_t stride = 0;  // of `data`: the logits' type, or bf16 for f32 logits
};

/// Statistics in one read of the logits. `targets` [rows] may be null where neither log_prob nor
/// greedy_match is wanted; the log-prob of a token outside the vocabulary is NaN. `write_back`
/// replaces the logits by map.value(x): set `mapped` after it.
int head_statistics(const LogitRows& logits, const int64_t* targets, const RowStatistics& out,
                    bool write_back, void* stream);

/// log_probs of candidates, given the rows' lse.
int head_candidates(const LogitRows& logits, const void* lse, const CandidateList& candidates,
                    void* stream);

/// The k likeliest tokens of each row, likeliest first, the lower id first among equals.
/// 1 ≤ k ≤ min(64, vocabulary); ids and log_probs [rows, k].
int head_top_k(const LogitRows& logits, const void* lse, int64_t k, int64_t* ids, void* log_probs,
               void* stream);

/// dL/dx, the gradient of the logits before the map. Of `saved` it reads lse, entropy where
/// upstream.entropy is given, log_sum_p2 where upstream.log_sum_p2 is; of `candidates` ids,
/// log_probs (as head_candidates wrote them) and gradients.
int head_gradient(const LogitRows& logits, const int64_t* targets, const RowGradients& upstream,
                  const RowStatistics& saved, const CandidateList& candidates,
                  const GradientRows& out, void* stream);

/// How many blocks share a row in head_statistics_gradient on the current device, so that their
/// shared memory holds it: 1, 2, 4 or 8; 0 where the row is read twice.
int head_row_parts(const LogitRows& logits);

/// head_statistics and head_gradient in one pass, for gradients that are known before the
/// statistics. `parts` as head_row_parts says, or any of its values that the device can run.
int head_statistics_gradient(const LogitRows& logits, const int64_t* targets,
                             const RowGradients& upstream, const RowStatistics& statistics,
                             const GradientRows& out, int parts, void* stream);

// --- Drawing tokens ------------------------------------------------------------------------------

/// What tokens are drawn from and how, as DrawOptions of luce/ops/draw.h says.
struct DrawRows {
  LogitRows first;                        // f32, of temperature 1
  LogitRows second;                       // with the rows and vocabulary of `first`; no data: none
  double second_weight = 0;               // in (0, 1] where there is a second
  kernels::LogitMap<double> tempered;     // the first's map at the temperature
  const double* uniform = nullptr;        // [rows] in [0, 1)
  const int64_t* seen_offsets = nullptr;  // [rows + 1]; null: no penalty
  const int64_t* seen = nullptr;  // tokens [offsets[row], offsets[row + 1]), which may repeat
  double repetition_penalty = 1;
  double temperature = 1;  // 0: the likeliest token
  int64_t top_k = 0;       // 0: all
  double top_p = 1;
  double min_p = 0;
  float* mixed = nullptr;  // [rows, vocabulary] working memory where there is a second or a penalty
};

/// One row's token; log-probs in nats.
struct DrawnToken {
  int64_t id;
  double log_prob;  // of the first model at temperature 1, with the bits of head_statistics
  double tempered;  // the same at the temperature, or at 1 where that is 0
  double drawn;     // of the distribution that the token was drawn from
};

/// Bytes of working memory for each row.
inline constexpr int64_t kDrawRowBytes = 32;

/// Draws a token at each row; out [rows]. Of equally likely tokens the first counts as likelier,
/// and a NaN counts as −∞. A row's result does not depend on the rows beside it. A row without any
/// mass, such as one of NaN, gives some token of the vocabulary.
int draw_tokens(const DrawRows& rows, void* working, DrawnToken* out, void* stream);

// --- Divergences of two rows of logits -----------------------------------------------------------

enum class DivergenceKind { forward_kl, reverse_kl, jensen_shannon };  // as in formulas.h

struct DivergenceRows {
  LogitRows p, q;  // of one type, with the same rows and vocabulary
  const void* p_lse = nullptr;
  const void* q_lse = nullptr;  // [rows] of the logits' type
  DivergenceKind kind = DivergenceKind::forward_kl;
  double beta = 0.5;  // of jensen_shannon
};

/// value [rows] and slope_sum [rows] = Σ p f, which the gradient needs; each may be null.
int divergence_value(const DivergenceRows& rows, void* value, void* slope_sum, void* stream);

/// upstream · (p f − p Σ p f) · dz/dx: the gradient of p's logits before the map.
int divergence_gradient(const DivergenceRows& rows, const void* slope_sum, const void* upstream,
                        const GradientRows& out, void* stream);

// --- Attention over prompt trees -----------------------------------------------------------------

/// Heads lie side by side in a row, rows `stride` elements apart: q [N, H, d], k and v [N, K, d].
/// H is a multiple of K, and 1 ≤ d ≤ 256. out and its gradient are [N, H, d] without gaps.
struct AttentionShape {
  Type type = Type::f32;
  int64_t heads = 0, kv_heads = 0, width = 0;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  double scale = 1;
  double softcap = 0;  // c: scores become c · tanh(score / c); 0: none
  int64_t window = 0;  // a row sees itself and window − 1 places before it; 0: all of them
};

/// Which rows see which. A segment's places are its prefix's rows, then its own; a row sees the
/// places up to itself. Segments share no own row.
struct AttentionSegments {
  const int64_t* table = nullptr;  // [count, 4]: begin, length, prefix_begin, prefix_length
  int64_t count = 0;
  int64_t longest = 0;  // the largest length
};

/// Who reads which keys, for their gradients. Runs are disjoint and cover every key row that some
/// segment sees. With the segments themselves as runs, the readers of run s are s and the segments
/// whose prefix it is; a prefix may also span several runs, or end inside one.
struct AttentionReaders {
  const int64_t* runs = nullptr;  // [count, 4]: begin, length, first reader, number of readers
  int64_t count = 0;
  int64_t longest = 0;                // the largest length
  const int64_t* segments = nullptr;  // run after run: the segments that see a row of the run
};

/// out [N, H, d] and lse [N, H] wide. Rows outside every segment are left as they are.
int attention_forward(const AttentionShape& shape, const AttentionSegments& segments, const void* q,
                      const void* k, const void* v, void* out, void* lse, void* stream);

/// dq, dk, dv with the strides of q, k, v. `delta` [N, H] wide is working memory. Rows of dq
/// outside every segment and rows of dk, dv outside every run are left as they are.
int attention_backward(const AttentionShape& shape, const AttentionSegments& segments,
                       const AttentionReaders& readers, const void* q, const void* k, const void* v,
                       const void* out, const void* lse, const void* d_out, void* delta, void* dq,
                       void* dk, void* dv, void* stream);

/// One attention's result: out [rows, H, d], and the lse of row r and head h, wide, at
/// lse[r · lse_row + h · lse_head].
struct AttentionPart {
  void* out = nullptr;
  void* lse = nullptr;
  int64_t lse_row = 0, lse_head = 0;
};

/// Attention over the keys of both parts, which are disjoint. Row i of `second` goes with row
/// index[i] of `first` and `merged` (i where index is null); no index occurs twice. `merged` may be
/// `first`. An lse of ±∞ says that a part saw no key.
int merge_attention(Type type, int64_t rows, int64_t heads, int64_t width, const int64_t* index,
                    const AttentionPart& first, const AttentionPart& second,
                    const AttentionPart& merged, void* stream);

// --- Attention to pages --------------------------------------------------------------------------

/// Positions of a page, as in luce/ops/paged_attention.h.
inline constexpr int64_t kPagePositions = 64;

/// Keys [P, K, d, kPagePositions] and values [P, K, kPagePositions, d]: strides in elements from
/// page to page and from head to head; what is inside of a head is dense. Each head's keys begin at
/// a multiple of 16 bytes.
struct PageRows {
  Type type = Type::f32;
  void* keys = nullptr;
  void* values = nullptr;
  int64_t kv_heads = 0, width = 0;  // 1 ≤ width ≤ 256
  int64_t keys_page = 0, keys_head = 0, values_page = 0, values_head = 0;
};

/// What a new token asks of its sequence's pages.
struct PageQueries {
  int64_t rows = 0, heads = 0;     // heads: a multiple of kv_heads
  const int64_t* table = nullptr;  // [rows, columns]: the page of positions [64 · t, …)
  const int64_t* lengths =
      nullptr;  // [rows] positions, from 1 to 64 · columns; the last is its own
  int64_t columns = 0;
  double scale = 1;
  double softcap = 0;
  int64_t window = 0;  // as in AttentionShape
};

/// Numbers of working memory that paged_attention needs, wide. Like the grids of its kernels they
/// depend on shapes alone, so that a captured graph serves all lengths.
int64_t paged_attention_partials(const PageRows& pages, const PageQueries& queries);

/// out [rows, H, d] for q [rows, H, d], both without gaps. A row's bits do not depend on the rows
/// beside it nor on `columns`. Only positions that a row sees are read from values; keys of a page
/// that holds one are read as a whole, and may be anything where no position is.
int paged_attention(const PageRows& pages, const PageQueries& queries, const void* q,
                    void* partials, void* out, void* stream);

/// Writes row n of k and v [rows, K, d], rows `stride` elements apart, to place offset[n] of page
/// page[n].
int write_pages(const PageRows& pages, int64_t rows, const int64_t* page, const int64_t* offset,
                const void* k, int64_t k_stride, const void* v, int64_t v_stride, void* stream);

// --- Decoder blocks ------------------------------------------------------------------------------

/// y = w ∘ cast(x / √(mean x² + eps)). Where `residual` is given, x + residual takes the place of x
/// and is written to `sum`, which may be x. x, residual, sum, y [rows, columns] and w [columns] of
/// one type; rstd [rows] wide, may be null.
int rms_norm(Type type, int64_t rows, int64_t columns, const void* x, const void* residual,
             const void* w, double eps, void* sum, void* y, void* rstd, void* stream);

/// Rows of working memory that rms_norm_backward needs: [that, columns] wide.
int64_t rms_norm_partials(int64_t rows);

/// dx of rms_norm's x (its `sum` where there was a residual), plus d_sum [rows, columns] where that
/// is given; dx may be dy or d_sum. dw [columns] wide is written, or added to where `add`; null,
/// and then partials too: not wanted.
int rms_norm_backward(Type type, int64_t rows, int64_t columns, const void* x, const void* w,
                      const void* rstd, const void* dy, const void* d_sum, void* dx, void* partials,
                      void* dw, bool add, void* stream);

/// Heads side by side in rows `stride` elements apart; in and out may be the same.
struct RotaryRows {
  const void* in = nullptr;
  void* out = nullptr;
  int64_t heads = 0, in_stride = 0, out_stride = 0;
};

/// Rotary positions of q and k (k.heads may be 0) in the half-split layout; cos and sin
/// [rows, width/2] wide, width even. `inverse` turns back: the gradient.
int rotate(Type type, int64_t rows, int64_t width, const RotaryRows& q, const RotaryRows& k,
           const void* cos, const void* sin, bool inverse, void* stream);

/// y [rows, columns] = silu(gate) ∘ up; rows of gate and up are `stride` elements apart, so that
/// they may be the halves of one matrix.
int swiglu(Type type, int64_t rows, int64_t columns, const void* gate, const void* up,
           int64_t stride, void* y, void* stream);

/// d_gate and d_up, `d_stride` apart from row to row, for dy [rows, columns]. They may be gate and
/// up.
int swiglu_backward(Type type, int64_t rows, int64_t columns, const void* gate, const void* up,
                    int64_t stride, const void* dy, void* d_gate, void* d_up, int64_t d_stride,
                    void* stream);

// --- Optimizer -----------------------------------------------------------------------------------

/// One parameter. The list stays the same over a run: it is made on the host, numbered by
/// number_chunks, and copied to the device once.
struct AdamWTensor {
  const void* gradient = nullptr;  // all f32, or all f64
  void* weight = nullptr;          // master
  void* m = nullptr;
  void* v = nullptr;
  void* copy = nullptr;     // bf16, written from the weight; null: none
  int64_t count = 0;        // elements
  double decay_factor = 1;  // of the step's decay: 0 for norms and biases
  int64_t first_chunk = 0;  // written by number_chunks
};

/// Elements that one block updates.
inline constexpr int64_t kAdamWChunk = 16384;

/// Numbers the chunks of `count` parameters in host memory and returns how many there are.
inline int64_t number_chunks(AdamWTensor* tensors, int64_t count) {
  int64_t chunks = 0;
  for (int64_t i = 0; i < count; ++i) {
    tensors[i].first_chunk = chunks;
    chunks += (tensors[i].count + kAdamWChunk - 1) / kAdamWChunk;
  }
  return chunks;
}

/// AdamW on all parameters in one launch. Gradients are multiplied by step.gradient_scale and,
/// where `factor` is given, by the number there (f32 or f64 as the parameters are): a clip factor
/// that the host has not seen.
int adamw(Type type, const AdamWTensor* tensors, int64_t count, int64_t chunks,
          const kernels::AdamWStep<double>& step, const void* factor, void* stream);

/// out[0] = Σ g² of all gradients, summed in f64. `partials` [chunks] is working memory.
int squared_norm(Type type, const AdamWTensor* tensors, int64_t count, int64_t chunks,
                 double* partials, double* out, void* stream);

}  // namespace luce::cuda
