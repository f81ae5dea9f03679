// What a model is used as. The role decides what may be done with it: a Reference has no
// parameters(), so training it does not compile.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "luce/batch.h"
#include "luce/model/causal_lm.h"
#include "luce/model/score_model.h"
#include "luce/ops/head.h"

namespace luce {

/// A model that is trained: gradient buffers, master weights, and the passes that fill them.
class Trainable {
 public:
  /// Makes gradient buffers and, where the dtype is below f32, master weights.
  explicit Trainable(std::shared_ptr<Decoder> decoder);

  /// The trunk's output at some rows of a batch, with the graph that leads to it.
  struct Pass {
    Tensor embedded;  // [N, D] a leaf of its own: its gradient goes to the embedding row by row
    Tensor tokens;    // [N]
    Tensor hidden;    // [R, D]
  };
  /// `rows` [R] i64 of the batch's stream.
  Pass forward(const Batch& batch, const Tensor& rows) const;
  /// Adds all gradients of what was computed from a pass to the buffers, for d_output =
  /// ∂loss/∂output; frees the graph.
  void backward(Pass& pass, const Tensor& output, const Tensor& d_output);

  const Decoder& decoder() const { return *decoder_; }
  Decoder& decoder() { return *decoder_; }
  std::vector<Parameter>& parameters() { return decoder_->parameters(); }
  void zero_gradients();

 private:
  std::shared_ptr<Decoder> decoder_;
};

/// A language model that is trained.
class Policy : public Trainable {
 public:
  explicit Policy(std::shared_ptr<CausalLM> model);

  /// The hidden states behind a batch's targets.
  Pass forward(const Batch& batch) const { return Trainable::forward(batch, batch.head_rows); }
  /// Adds the trunk's gradients for d_hidden [M, D] to the buffers; frees the graph.
  void backward(Pass& pass, const Tensor& d_hidden) {
    Trainable::backward(pass, pass.hidden, d_hidden);
  }

  /// Statistics of a batch's targets, without a gradient.
  HeadStats score(const Batch& batch, const HeadOptions& options) const;

  const CausalLM& model() const { return *model_; }
  CausalLM& model() { return *model_; }
  /// The f32 buffer that the head's weight gradient is added to.
  Tensor head_gradient() { return parameters()[model_->head_index()].grad; }

 private:
  std::shared_ptr<CausalLM> model_;
};

/// A model of scores that is trained.
class RewardModel : public Trainable {
 public:
  explicit RewardModel(std::shared_ptr<ScoreModel> model);

  const ScoreModel& model() const { return *model_; }
  ScoreModel& model() { return *model_; }

 private:
  std::shared_ptr<ScoreModel> model_;
};

/// A frozen model.
class Reference {
 public:
  explicit Reference(std::shared_ptr<const CausalLM> model) : model_(std::move(model)) {}
  /// The same for one that may follow a policy.
  explicit Reference(std::shared_ptr<CausalLM> model) : model_(model), moving_(std::move(model)) {}

  /// The hidden states behind a batch's targets: [M, D], without a graph.
  Tensor hidden(const Batch& batch) const;
  Tensor head_weight() const { return model_->head_weight(); }
  const CausalLM& model() const { return *model_; }

  /// Moves the weights towards the policy's: θ_ref ← share · θ + (1 − share) · θ_ref (TR-DPO,
  /// Gorbatovski et al., arXiv:2404.09656). In f32 for bf16 models: small shares are not lost.
  /// Throws ArgumentError, as the two below, where the model was given as a constant.
  void follow(const Policy& policy, double share);
  /// The weights as they are moved, for a checkpoint: (name, f32 or f64 tensor), shared.
  std::vector<std::pair<std::string, Tensor>> weights();
  /// Takes weights of the same names and shapes. Throws DataError.
  void set_weights(const std::vector<std::pair<std::string, Tensor>>& weights);

 private:
  std::shared_ptr<const CausalLM> model_;
  std::shared_ptr<CausalLM> moving_;  // the same model, where it may be changed
  std::vector<Tensor> master_;        // of models below f32, once they have been moved
};

}  // namespace luce
