// `config.json` of a Hugging Face model folder, in the spelling of transformers 4 (`torch_dtype`,
// `rope_theta`, `rope_scaling`) and of transformers 5 (`dtype`, `rope_parameters`).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "luce/base/json.h"

namespace luce {

/// Rotary position embeddings.
struct Rope {
  std::string type = "default";  // default | linear | llama3
  double theta = 10000;
  double factor = 1;                                 // linear, llama3
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t original_max_position_embeddings = 0;      // llama3: positions of the first training
};

/// What the decoder needs to know. The defaults are those that transformers gives a missing key.
struct ModelConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008;
  int64_t num_hidden_layers = 32, num_attention_heads = 32, num_key_value_heads = 32;
  int64_t head_dim = 128, max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6, initializer_range = 0.02;
  bool tie_word_embeddings = false, attention_bias = false, mlp_bias = false;
  std::string hidden_act = "silu";
  Rope rope;
  std::string dtype = "float32";  // float64 | float32 | float16 | bfloat16
  std::optional<int64_t> bos_token_id = 1;
  std::vector<int64_t> eos_token_ids = {2};
  Json source;  // the JSON as it was read; null for a config made in code
};

/// Reads a config's values; `name` stands for the file in errors. Throws DataError naming the key
/// where a value has another type, is out of range, contradicts another or is not supported.
ModelConfig parse_model_config(const Json& json, const std::string& name);

/// Reads `config.json` of a folder. Throws MissingFileError, DataError.
ModelConfig read_model_config(const std::filesystem::path& folder);

/// The JSON to save beside weights of `dtype` that transformers loads as `class_name`: the source
/// with its keys and their order, where only dtype, architectures and vocab_size are set anew; all
/// keys, in the new spelling, without a source.
Json to_json(const ModelConfig& config, const std::string& dtype,
             const std::string& class_name = "LlamaForCausalLM");

/// The angle per position of each pair of a head's dimensions, in radians: [head_dim / 2].
std::vector<double> rope_inverse_frequencies(const ModelConfig& config);

}  // namespace luce
