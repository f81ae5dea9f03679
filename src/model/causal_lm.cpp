#include "luce/model/causal_lm.h"

#include <ATen/ATen.h>

namespace luce {

CausalLM::CausalLM(ModelConfig config, ModelOptions options) : Decoder(std::move(config), options) {
  head_ = config_.tie_word_embeddings ? embedding_index()
                                      : declare(architecture_of(config_).head,
                                                {config_.vocab_size, config_.hidden_size}, true);
}

std::shared_ptr<CausalLM> CausalLM::load(const std::filesystem::path& folder,
                                         const ModelOptions& options) {
  const std::shared_ptr<CausalLM> model(new CausalLM(read_model_config(folder), options));
  model->read_new(folder);
  return model;
}

std::shared_ptr<CausalLM> CausalLM::init(const ModelConfig& config, uint64_t seed,
                                         const ModelOptions& options) {
  const std::shared_ptr<CausalLM> model(new CausalLM(config, options));
  model->draw(0, config.initializer_range, seed);
  return model;
}

std::shared_ptr<CausalLM> CausalLM::clone() const {
  const std::shared_ptr<CausalLM> copy(new CausalLM(config_, options_));
  copy->copy_weights(*this);
  return copy;
}

Json CausalLM::config_json(const std::string& dtype) const {
  return to_json(config_, dtype, architecture_of(config_).class_prefix + "ForCausalLM");
}

/// Stored beside a tied embedding by some tools.
std::vector<std::string> CausalLM::ignored() const { return {architecture_of(config_).head}; }

Tensor CausalLM::head_weight() const { return parameters_[head_].work.detach(); }

}  // namespace luce
