// What the loops over chunks call: logits of some rows, their statistics, their gradients.
#pragma once

#include <memory>

#include "luce/ops/head.h"

namespace luce {

/// The inputs of a head op, checked.
struct HeadInputs {
  Tensor hidden, weight, targets;
};

class HeadBackend {
 public:
  virtual ~HeadBackend() = default;
  /// Logits of `n` targets from `begin` on; they stay until the next call.
  virtual HeadStats forward(int64_t begin, int64_t n) = 0;
  /// Adds the gradients of the rows of the last forward.
  virtual void backward(const HeadGradients& gradients, Tensor& d_hidden, Tensor& d_weight) = 0;
  /// z and lse of the last forward.
  virtual Logits logits() const = 0;
};

class DivergenceBackend {
 public:
  virtual ~DivergenceBackend() = default;
  /// Divergences of `n` rows from `begin` on.
  virtual Tensor forward(int64_t begin, int64_t n) = 0;
  virtual void backward(const Tensor& upstream, Tensor& d_hidden, Tensor& d_weight) = 0;
};

/// The definition, in LibTorch's operators: any device and dtype.
std::unique_ptr<HeadBackend> composed_head(const HeadInputs& inputs, const HeadOptions& options);
std::unique_ptr<DivergenceBackend> composed_divergence(const HeadSide& p, const HeadSide& q,
                                                       const DivergenceOptions& options);

/// Tiles of the vocabulary, f32 and bf16 on the CPU.
std::unique_ptr<HeadBackend> cpu_head(const HeadInputs& inputs, const HeadOptions& options);
std::unique_ptr<DivergenceBackend> cpu_divergence(const HeadSide& p, const HeadSide& q,
                                                  const DivergenceOptions& options);

#if defined(LUCE_CUDA)
/// f32 and bf16 on a GPU.
std::unique_ptr<HeadBackend> cuda_head(const HeadInputs& inputs, const HeadOptions& options);
std::unique_ptr<DivergenceBackend> cuda_divergence(const HeadSide& p, const HeadSide& q,
                                                   const DivergenceOptions& options);
#endif

/// A buffer of `count` floats from the workspace, or a fresh one.
Tensor chunk_buffer(Tensor* kept, int64_t count, const Tensor& like, at::ScalarType type);

/// The candidates of `n` targets from `begin` on, their offsets counted from 0.
Candidates candidates_of(const Candidates& all, int64_t begin, int64_t n);

}  // namespace luce
