// A decoder-only language model: a trunk and an output matrix over the vocabulary.
#pragma once

#include "luce/model/decoder.h"

namespace luce {

class CausalLM : public Decoder {
 public:
  /// Reads a Hugging Face model folder. Throws MissingFileError, and DataError where the weights do
  /// not fit the config.
  static std::shared_ptr<CausalLM> load(const std::filesystem::path& folder,
                                        const ModelOptions& options = {});
  /// A new model: matrices normal(0, initializer_range) by seed, norms 1, biases 0.
  static std::shared_ptr<CausalLM> init(const ModelConfig& config, uint64_t seed,
                                        const ModelOptions& options = {});
  /// A copy that shares nothing.
  std::shared_ptr<CausalLM> clone() const;

  /// The output matrix [V, D], without a graph.
  Tensor head_weight() const;
  /// Its place in parameters(): that of the embedding where the two are tied.
  size_t head_index() const { return head_; }

 private:
  CausalLM(ModelConfig config, ModelOptions options);
  Json config_json(const std::string& dtype) const override;
  std::vector<std::string> ignored() const override;

  size_t head_ = 0;
};

}  // namespace luce
