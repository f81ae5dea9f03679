// The CPU kernels as one table of functions per instruction set.
//
// Logits are held by tiles [entries of the vocabulary, targets], so that a target is a
// lane and no sum runs across lanes. A panel is kPanel targets wide, 64-byte aligned.
#pragma once

#include <cstdint>

#include "kernels/formulas.h"

namespace luce::kernels {

struct AttentionRows;  // attention_rows.h

inline constexpr int64_t kPanel = 128;
inline constexpr int64_t kDrawTile = 256;

/// RowSums of many targets: five arrays of floats.
struct SumArrays {
  float *max, *exp, *shifted, *square, *total;
};

enum class DivergenceKind { forward_kl, reverse_kl, jensen_shannon };

/// RowSlopes of many targets, and the lse that turns logits into log-probs.
struct SlopeArrays {
  const float *lse, *a, *b, *c, *m;
};

struct Table {
  const char* name;    // "avx512", "avx2", "portable"
  bool fused = false;  // products are added without being rounded first

  /// C (+)= A·B, as tile_gemm says: where LibTorch has no micro-kernel for the processor.
  void (*gemm)(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
               int64_t ldb, float* c, int64_t ldc, bool add);
  /// c [n] (+)= a [k] · B [k, n], with the bits of gemm where `fused`; B in f32 or bf16.
  void (*row_gemm)(int64_t n, int64_t k, const float* a, const float* b, int64_t ldb, float* c,
                   bool add);
  void (*row_gemm_bf16)(int64_t n, int64_t k, const float* a, const uint16_t* b, int64_t ldb,
                        float* c, bool add);

  // --- Head: one tile [n, width] of a panel, rows `ld` apart; width a multiple of 16 -----------

  /// Maps x to z in place and adds the tile to the sums of its targets. `first` is the tile's first
  /// entry; where `best` is not null it takes the entry with the largest z (the first of equals).
  void (*head_sums)(float* z, int64_t n, int64_t width, int64_t ld, int64_t first,
                    const LogitMap<float>& map, SumArrays sums, int32_t* best);
  /// The max and exp of head_sums alone, with the same bits.
  void (*head_log_sums)(float* z, int64_t n, int64_t width, int64_t ld, int64_t first,
                        const LogitMap<float>& map, float* max, float* exp, int32_t* best);
  /// z → the dense part of dL/dx, in place.
  void (*head_gradient)(float* z, int64_t n, int64_t width, int64_t ld, SlopeArrays slopes,
                        const LogitMap<float>& map);
  /// Adds Σ d_v and Σ p_v f_v of a divergence; p and q are logits z, their lse given.
  void (*divergence_sums)(const float* p, const float* q, int64_t n, int64_t width, int64_t ld,
                          const float* p_lse, const float* q_lse, DivergenceKind kind, float beta,
                          float* value, float* slope_sum);
  /// p → upstream · (p f − p Σ p f) · dz/dx, in place.
  void (*divergence_gradient)(float* p, const float* q, int64_t n, int64_t width, int64_t ld,
                              const float* p_lse, const float* q_lse, DivergenceKind kind,
                              float beta, const float* slope_sum, const float* upstream,
                              const LogitMap<float>& map);

  // --- Drawing: one row of logits, n a multiple of kDrawTile, −∞ behind its end ------------------

  /// The largest of every 16 entries, n/16 of them: entries of a tile that are 16 apart go
  /// together.
  void (*row_maxima)(int64_t n, const float* z, float* maxima);
  /// Σ exp(z − max) of every tile of kDrawTile entries.
  void (*row_sums)(int64_t n, const float* z, float max, float* sums);
  /// The entries of at least `least`, in ascending order; returns how many. `ids` has room for n.
  int64_t (*row_above)(int64_t n, const float* z, float least, int32_t* ids);

  // --- Blocks of the decoder ---------------------------------------------------------------------

  /// y = w ∘ x / √(mean x² + eps) for rows of d floats; rstd [rows]. Where `residual` is not null,
  /// x ← x + residual first, written to `sum`.
  void (*rms_norm)(int64_t rows, int64_t d, const float* x, const float* residual, const float* w,
                   float eps, float* sum, float* y, float* rstd);
  /// dx, and dw added to dw[d]; `dsum`, where not null, is added to dx (the residual's gradient).
  void (*rms_norm_backward)(int64_t rows, int64_t d, const float* x, const float* w,
                            const float* rstd, const float* dy, const float* dsum, float* dx,
                            float* dw);
  /// Turns rows [rows, heads, d] by the angles cos, sin [rows, d/2]; `sign` −1 is the inverse.
  void (*rotate)(int64_t rows, int64_t heads, int64_t d, const float* x, const float* cos,
                 const float* sin, float sign, float* y);
  void (*swiglu)(int64_t n, const float* gate, const float* up, float* y);
  void (*swiglu_backward)(int64_t n, const float* gate, const float* up, const float* dy,
                          float* d_gate, float* d_up);

  // --- Optimizer ---------------------------------------------------------------------------------

  void (*adamw)(int64_t n, const AdamWStep<float>& step, const float* g, float* weight, float* m,
                float* v, uint16_t* work_bf16);
  double (*sum_of_squares)(int64_t n, const float* x);

  // --- bf16 --------------------------------------------------------------------------------------

  void (*widen)(int64_t n, const uint16_t* x, float* y);
  /// Rounds to nearest even; NaN stays NaN.
  void (*narrow)(int64_t n, const float* x, uint16_t* y);
  /// Two rows, rounded and interleaved: [n, 2].
  void (*narrow_pair)(int64_t n, const float* first, const float* second, uint16_t* pairs);
  /// to[j, i] = from[i, j] of words, which may be floats or pairs of bf16, bit by bit; strides
  /// count words, rows and columns are multiples of 4.
  void (*transpose_words)(int64_t rows, int64_t columns, const void* from, int64_t from_stride,
                          void* to, int64_t to_stride);
};

/// The widest table that this processor runs, or the one that the environment variable LUCE_ISA
/// names (avx512, avx2, portable).
const Table& table();
const AttentionRows& attention_rows();

/// Whether the processor has dot products of bf16 (AVX512_BF16 or AMX).
bool has_bf16_dot();

// One of each per instruction set that the library was built for.
namespace portable {
const Table& table();
const AttentionRows& attention_rows();
}  // namespace portable
namespace avx2 {
const Table& table();
const AttentionRows& attention_rows();
}  // namespace avx2
namespace avx512 {
const Table& table();
const AttentionRows& attention_rows();
}  // namespace avx512

}  // namespace luce::kernels
