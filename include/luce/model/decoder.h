// What all models here are: an embedding, a list of blocks and a final norm. What stands behind it
// is a subclass: an output matrix (CausalLM) or a head of scores (ScoreModel).
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "luce/data/model_config.h"
#include "luce/model/architecture.h"
#include "luce/model/parameter.h"
#include "luce/ops/attention.h"
#include "luce/ops/elementwise.h"
#include "luce/ops/linear.h"
#include "luce/ops/tensor.h"

namespace luce {

struct ModelOptions {
  at::ScalarType dtype = at::kFloat;  // f32, f64 or bf16
  c10::Device device = c10::Device(c10::kCPU);
  /// A sequence's log-probs have the same bits whatever stands beside it in a batch, in the trainer
  /// and in the sampler, on any number of threads. f32 on the CPU; keeps a second copy of the
  /// weights.
  bool batch_invariant = false;
};

/// "auto" (a GPU where one can be used), "cpu" or "cuda". Throws UsageError, beginning with
/// `where`, on other names, and ResourceError where "cuda" cannot be had, with the reason.
c10::Device device_of(const std::string& name, const std::string& where);

/// "float32", "float64" or "bfloat16". Throws UsageError, beginning with `where`.
at::ScalarType dtype_of(const std::string& name, const std::string& where);

/// Attention of one block: (block, q [N, H, d], k and v [N, K, d]) → [N, H, d].
using Attend =
    std::function<Tensor(size_t block, const Tensor& q, const Tensor& k, const Tensor& v)>;

/// Which products with weights a trunk runs: those with a graph, or those for rows without one
/// (thin_linear), whose bits are the ordered ones in f32 and bf16 on a CPU.
enum class Products { with_graph, thin };

/// The trunk of a model, and every tensor that a subclass puts behind it.
class Decoder {
 public:
  virtual ~Decoder() = default;

  /// Writes config.json and the weights into an existing folder. Throws WriteError.
  void save(const std::filesystem::path& folder) const;
  /// Takes the weights of a folder that this kind of model was saved to. Throws DataError where a
  /// tensor is missing or of another shape.
  void read_weights(const std::filesystem::path& folder);

  const ModelConfig& config() const { return config_; }
  const ModelOptions& options() const { return options_; }
  /// In the order of the file; a tied output matrix is the embedding, listed once.
  std::vector<Parameter>& parameters() { return parameters_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t num_parameters() const;

  /// Rows of the embedding for tokens [N] i64: [N, D], without a graph.
  Tensor embed(const Tensor& tokens) const;
  /// All blocks and the final norm: [N, D] → [N, D]. Differentiable in `embedded` and the weights.
  Tensor trunk(const Tensor& embedded, const Tensor& positions, const Attend& attend) const;
  /// The same with attention over a forest of prompts and completions.
  Tensor trunk(const Tensor& embedded, const Tensor& positions,
               const std::vector<TreeSegment>& segments) const;
  /// The same at some rows alone, [R, D]: the last block runs its queries and its feed-forward part
  /// there and nowhere else. rows [R] i64, in any order, repeated as wanted.
  Tensor trunk_at(const Tensor& rows, const Tensor& embedded, const Tensor& positions,
                  const std::vector<TreeSegment>& segments) const;
  /// The same with any attention. Of queries of the last block all rows but these are 0.
  Tensor trunk_at(const Tensor& rows, const Tensor& embedded, const Tensor& positions,
                  const Attend& attend, Products products) const;
  double attention_scale() const;

  /// Place of the embedding in parameters().
  size_t embedding_index() const { return embedding_; }

 protected:
  struct Linear {
    size_t weight = 0;
    std::optional<size_t> bias;
  };

  /// Declares the trunk; a subclass declares its head after it. Tensors have shapes and no memory
  /// until they are read, drawn or copied.
  Decoder(ModelConfig config, ModelOptions options);
  size_t declare(const std::string& name, std::vector<int64_t> shape, bool decay);
  Linear declare_linear(const std::string& name, int64_t out, int64_t in, bool bias);
  Tensor apply(const Linear& linear, const Tensor& x) const;
  /// x through each of some layers.
  std::vector<Tensor> apply(const std::vector<const Linear*>& layers, const Tensor& x,
                            Products products) const;

  /// The tensors that a folder has; `optional` ones may be missing, and are left without memory.
  void read_new(const std::filesystem::path& folder, const std::vector<size_t>& optional = {});
  /// Draws the parameters [first, …): matrices normal(0, deviation), norms 1, biases 0.
  void draw(size_t first, double deviation, uint64_t seed);
  void copy_weights(const Decoder& other);

  /// What config.json says of weights in `dtype`.
  virtual Json config_json(const std::string& dtype) const = 0;
  /// Tensors of a folder that this model leaves out without a word.
  virtual std::vector<std::string> ignored() const { return {}; }

  ModelConfig config_;
  ModelOptions options_;
  std::vector<Parameter> parameters_;

 private:
  struct Block {
    size_t input_norm = 0, post_attention_norm = 0;
    Linear q, k, v, o, gate, up, down;
  };
  /// A block reads the normed stream `in.y` and adds to `in.sum`; the result is normed by
  /// `next_norm`.
  Normed apply(const Block& block, size_t index, const Normed& in, const RotaryTable& rotary,
               const Attend& attend, size_t next_norm, Products products) const;
  /// What follows a block's attention: its output is added, and the feed-forward part.
  Normed finish(const Block& block, const Tensor& attended, const Tensor& stream, size_t next_norm,
                Products products) const;
  /// All blocks and the final norm.
  Tensor run(const Tensor& embedded, const Tensor& positions, const Attend& attend,
             Products products) const;
  /// The parameter of the norm before a block, or of the final one behind the last.
  size_t norm_before(size_t block) const;
  Attend attention_over(const std::vector<TreeSegment>& segments) const;

  std::vector<double> inverse_frequencies_;
  std::vector<Block> blocks_;
  size_t embedding_ = 0, final_norm_ = 0;
  mutable std::vector<PackedWeight> packed_;  // of every parameter, where batch_invariant
};

}  // namespace luce
