// Architectures are data: a row of traits and tensor names, not a subclass.
#pragma once

#include <string>

#include "luce/data/model_config.h"

namespace luce {

/// How one family of decoders names its tensors. "{}" stands for the block's number; the matrices
/// are [out, in], a bias has the name of its matrix with ".bias" in place of ".weight".
struct Architecture {
  std::string model_type;    // as config.json says
  std::string class_prefix;  // of the classes in its "architectures": "Llama" of LlamaForCausalLM
  std::string embedding, final_norm, head;
  std::string input_norm, q, k, v, o, post_attention_norm, gate, up, down;
};

/// The row of a config's model_type. Throws DataError that lists the known ones.
const Architecture& architecture_of(const ModelConfig& config);

}  // namespace luce
