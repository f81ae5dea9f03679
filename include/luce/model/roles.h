// What a model is used as. The role decides what may be done with it: a Reference has no
// parameters(), so training it does not compile.
#pragma once

#include <memory>

#include "luce/batch.h"
#include "luce/model/causal_lm.h"
#include "luce/ops/head.h"

namespace luce {

/// A model that is trained.
class Policy {
 public:
  /// Makes gradient buffers and, where the dtype is below f32, master weights.
  explicit Policy(std::shared_ptr<CausalLM> model);

  /// The hidden states behind a batch's targets, with the graph that leads to them.
  struct Pass {
    Tensor embedded;  // [N, D] a leaf of its own: its gradient goes to the embedding row by row
    Tensor tokens;    // [N]
    Tensor hidden;    // [M, D]
  };
  Pass forward(const Batch& batch) const;

  /// Adds the trunk's gradients for d_hidden [M, D] to the buffers; frees the graph.
  void backward(Pass& pass, const Tensor& d_hidden);

  /// Statistics of a batch's targets, without a gradient.
  HeadStats score(const Batch& batch, const HeadOptions& options) const;

  const CausalLM& model() const { return *model_; }
  CausalLM& model() { return *model_; }
  std::vector<Parameter>& parameters() { return model_->parameters(); }
  /// The f32 buffer that the head's weight gradient is added to.
  Tensor head_gradient() { return parameters()[model_->head_index()].grad; }
  void zero_gradients();

 private:
  std::shared_ptr<CausalLM> model_;
};

/// A frozen model.
class Reference {
 public:
  explicit Reference(std::shared_ptr<const CausalLM> model) : model_(std::move(model)) {}

  /// The hidden states behind a batch's targets: [M, D], without a graph.
  Tensor hidden(const Batch& batch) const;
  Tensor head_weight() const { return model_->head_weight(); }
  const CausalLM& model() const { return *model_; }

 private:
  std::shared_ptr<const CausalLM> model_;
};

}  // namespace luce
