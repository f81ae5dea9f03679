#include "luce/model/architecture.h"

#include <array>

#include "luce/base/error.h"

namespace luce {

const Architecture& architecture_of(const ModelConfig& config) {
  static const std::array<Architecture, 1> table{{
      {.model_type = "llama",
       .class_prefix = "Llama",
       .embedding = "model.embed_tokens.weight",
       .final_norm = "model.norm.weight",
       .head = "lm_head.weight",
       .input_norm = "model.layers.{}.input_layernorm.weight",
       .q = "model.layers.{}.self_attn.q_proj.weight",
       .k = "model.layers.{}.self_attn.k_proj.weight",
       .v = "model.layers.{}.self_attn.v_proj.weight",
       .o = "model.layers.{}.self_attn.o_proj.weight",
       .post_attention_norm = "model.layers.{}.post_attention_layernorm.weight",
       .gate = "model.layers.{}.mlp.gate_proj.weight",
       .up = "model.layers.{}.mlp.up_proj.weight",
       .down = "model.layers.{}.mlp.down_proj.weight"},
  }};
  std::string known;
  for (const auto& row : table) {
    if (row.model_type == config.model_type) return row;
    known += (known.empty() ? "" : ", ") + row.model_type;
  }
  throw DataError(cat("model_type \"", config.model_type, "\" is not known; known: ", known));
}

}  // namespace luce
