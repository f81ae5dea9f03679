#include "luce/data/model_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 24;

/// Typed access to the keys of one JSON object. `null` counts as absent only where `get` allows it.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  /// Null where the key is absent.
  const Json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() ? nullptr : &*at;
  }
  /// Null where the key is absent or null.
  const Json* find_value(const char* key) const {
    const Json* value = find(key);
    return value == nullptr || value->is_null() ? nullptr : value;
  }

  void read(const char* key, int64_t& out, int64_t low, int64_t high) const {
    if (const Json* value = find(key)) out = whole(key, *value, low, high);
  }
  /// A number in (low, high], or [low, high] with `closed`.
  void read(const char* key, double& out, double low, double high, bool closed = false) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (!(closed ? number >= low : number > low) || !(number <= high))
      fail(cat(key, " must be a number ", closed ? "from " : "above ", low,
               closed ? " to " : ", at most ", high),
           *value);
    out = number;
  }
  void read(const char* key, bool& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) fail(cat(key, " must be true or false"), *value);
    out = value->get<bool>();
  }
  void read(const char* key, std::string& out) const {
    const Json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_string()) fail(cat(key, " must be a text"), *value);
    out = value->get<std::string>();
  }

  int64_t whole(const char* key, const Json& value, int64_t low, int64_t high) const {
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() ||
                       value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
    if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
      fail(cat(key, " must be a whole number from ", low, " to ", high), value);
    return value.get<int64_t>();
  }

  [[noreturn]] void fail(const std::string& expected, const Json& got) const {
    std::string text = got.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 60) + "…";
    fail(cat(expected, ", got ", text));
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(cat(where_, ": ", what));
  }

 private:
  const Json& object_;
  std::string where_;
};

Rope parse_rope(const Json& json, const std::string& name, const ModelConfig& config) {
  const Reader top(json, name);
  // transformers 5 lets the old key win where both are there.
  const char* key = "rope_scaling";
  const Json* json_rope = top.find_value(key);
  if (json_rope == nullptr || json_rope->empty())
    json_rope = top.find_value(key = "rope_parameters");
  static const Json kNothing = Json::object();
  if (json_rope == nullptr) json_rope = &kNothing;
  if (!json_rope->is_object()) top.fail(cat(key, " must be an object or null"), *json_rope);
  const Reader rope(*json_rope, cat(name, ": ", key));

  Rope out;
  rope.read(rope.find("rope_type") != nullptr ? "rope_type" : "type", out.type);
  if (out.type != "default" && out.type != "linear" && out.type != "llama3")
    rope.fail(cat("rope_type must be default, linear or llama3, got \"", out.type, "\""));
  for (const auto& [inner, value] : json_rope->items())
    if (value.is_object())
      rope.fail(cat(inner, ": RoPE that differs between layers is not supported"));
  for (const Reader* reader : {&top, &rope}) {
    double partial = 1;
    if (reader->find_value("partial_rotary_factor") != nullptr)
      reader->read("partial_rotary_factor", partial, 0, 1);
    if (partial != 1) reader->fail(cat("partial_rotary_factor must be 1, got ", partial));
    reader->read("rope_theta", out.theta, 0, 1e30);  // the inner value, read last, wins
  }
  if (out.type == "default") return out;

  const auto need = [&](const char* inner) {
    if (rope.find_value(inner) == nullptr) rope.fail(cat("rope_type ", out.type, " needs ", inner));
  };
  need("factor");
  rope.read("factor", out.factor, 0, 1e9);
  if (out.type == "linear") return out;

  need("low_freq_factor");
  need("high_freq_factor");
  rope.read("low_freq_factor", out.low_freq_factor, 0, 1e9);
  rope.read("high_freq_factor", out.high_freq_factor, 0, 1e9);
  if (out.high_freq_factor <= out.low_freq_factor)
    rope.fail(cat("high_freq_factor ", out.high_freq_factor, " must be above low_freq_factor ",
                  out.low_freq_factor));
  out.original_max_position_embeddings = config.max_position_embeddings;
  const char* original = "original_max_position_embeddings";
  const Reader& reader = top.find_value(original) != nullptr ? top : rope;
  reader.read(original, out.original_max_position_embeddings, 1, int64_t{1} << 30);
  return out;
}

std::vector<int64_t> parse_eos(const Reader& reader, const ModelConfig& config) {
  const Json* value = reader.find("eos_token_id");
  if (value == nullptr) return config.eos_token_ids;
  if (value->is_null()) return {};
  std::vector<int64_t> out;
  if (!value->is_array()) return {reader.whole("eos_token_id", *value, 0, config.vocab_size - 1)};
  for (const auto& id : *value)
    out.push_back(reader.whole("an entry of eos_token_id", id, 0, config.vocab_size - 1));
  return out;
}

}  // namespace

ModelConfig parse_model_config(const Json& json, const std::string& name) {
  const Reader reader(json, name);
  if (!json.is_object()) reader.fail("a model's config must be an object", json);
  ModelConfig c;
  c.source = json;

  c.model_type.clear();
  reader.read("model_type", c.model_type);
  if (c.model_type != "llama")
    reader.fail(
        cat("model_type ",
            c.model_type.empty() ? "is missing" : cat("\"", c.model_type, "\" is not supported"),
            "; supported: llama"));
  if (reader.find_value("quantization_config") != nullptr)
    reader.fail(
        "quantization_config: quantized weights are not supported; use the model they were made "
        "from");

  reader.read("vocab_size", c.vocab_size, 1, kMaxSize);
  reader.read("hidden_size", c.hidden_size, 1, kMaxSize);
  reader.read("intermediate_size", c.intermediate_size, 1, kMaxSize);
  reader.read("num_hidden_layers", c.num_hidden_layers, 1, 4096);
  reader.read("num_attention_heads", c.num_attention_heads, 1, 65536);
  reader.read("max_position_embeddings", c.max_position_embeddings, 1, int64_t{1} << 30);

  c.num_key_value_heads = c.num_attention_heads;
  if (reader.find_value("num_key_value_heads") != nullptr)
    reader.read("num_key_value_heads", c.num_key_value_heads, 1, 65536);
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    reader.fail(cat("num_attention_heads ", c.num_attention_heads,
                    " must be a multiple of num_key_value_heads ", c.num_key_value_heads));

  if (reader.find_value("head_dim") != nullptr) {
    reader.read("head_dim", c.head_dim, 1, 65536);
  } else {
    if (c.hidden_size % c.num_attention_heads != 0)
      reader.fail(cat("hidden_size ", c.hidden_size, " must be a multiple of num_attention_heads ",
                      c.num_attention_heads, " where head_dim is not given"));
    c.head_dim = c.hidden_size / c.num_attention_heads;
  }
  if (c.head_dim % 2 != 0)
    reader.fail(
        cat("head_dim must be even, since RoPE turns pairs of dimensions, got ", c.head_dim));
  if (c.num_attention_heads * c.head_dim > kMaxSize)
    reader.fail(cat("num_attention_heads ", c.num_attention_heads, " × head_dim ", c.head_dim,
                    " must be at most ", kMaxSize));

  reader.read("rms_norm_eps", c.rms_norm_eps, 0, 1);
  reader.read("initializer_range", c.initializer_range, 0, 1, true);
  reader.read("tie_word_embeddings", c.tie_word_embeddings);
  reader.read("attention_bias", c.attention_bias);
  reader.read("mlp_bias", c.mlp_bias);
  reader.read("hidden_act", c.hidden_act);
  if (c.hidden_act != "silu")
    reader.fail(cat("hidden_act \"", c.hidden_act, "\" is not supported; supported: silu"));

  const char* dtype = reader.find_value("dtype") != nullptr ? "dtype" : "torch_dtype";
  if (reader.find_value(dtype) != nullptr) reader.read(dtype, c.dtype);
  if (c.dtype != "float64" && c.dtype != "float32" && c.dtype != "float16" && c.dtype != "bfloat16")
    reader.fail(cat(dtype, " \"", c.dtype,
                    "\" is not supported; supported: float64, float32, float16, bfloat16"));

  if (const Json* bos = reader.find("bos_token_id"))
    c.bos_token_id = bos->is_null()
                         ? std::nullopt
                         : std::optional(reader.whole("bos_token_id", *bos, 0, c.vocab_size - 1));
  c.eos_token_ids = parse_eos(reader, c);
  c.rope = parse_rope(json, name, c);
  return c;
}

ModelConfig read_model_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const std::string text = read_file(path, uint64_t{1} << 24);
  return parse_model_config(parse_json(text, path.string()), path.string());
}

Json to_json(const ModelConfig& c, const std::string& dtype, const std::string& class_name) {
  Json out = c.source;
  if (out.is_null()) {
    const Json rope_type = {{"rope_type", c.rope.type}, {"rope_theta", c.rope.theta}};
    out = {{"architectures", Json::array()},
           {"model_type", c.model_type},
           {"vocab_size", c.vocab_size},
           {"hidden_size", c.hidden_size},
           {"intermediate_size", c.intermediate_size},
           {"num_hidden_layers", c.num_hidden_layers},
           {"num_attention_heads", c.num_attention_heads},
           {"num_key_value_heads", c.num_key_value_heads},
           {"head_dim", c.head_dim},
           {"max_position_embeddings", c.max_position_embeddings},
           {"rms_norm_eps", c.rms_norm_eps},
           {"initializer_range", c.initializer_range},
           {"tie_word_embeddings", c.tie_word_embeddings},
           {"attention_bias", c.attention_bias},
           {"mlp_bias", c.mlp_bias},
           {"hidden_act", c.hidden_act},
           {"rope_parameters", rope_type},
           {"bos_token_id", c.bos_token_id ? Json(*c.bos_token_id) : Json()},
           {"eos_token_id",
            c.eos_token_ids.size() == 1 ? Json(c.eos_token_ids[0]) : Json(c.eos_token_ids)}};
    Json& rope = out["rope_parameters"];
    if (c.rope.type != "default") rope["factor"] = c.rope.factor;
    if (c.rope.type == "llama3") {
      rope["low_freq_factor"] = c.rope.low_freq_factor;
      rope["high_freq_factor"] = c.rope.high_freq_factor;
      rope["original_max_position_embeddings"] = c.rope.original_max_position_embeddings;
    }
  }
  out["architectures"] = Json::array({class_name});
  out["vocab_size"] = c.vocab_size;
  if (out.contains("torch_dtype")) out["torch_dtype"] = dtype;
  if (out.contains("dtype") || !out.contains("torch_dtype")) out["dtype"] = dtype;
  return out;
}

std::vector<double> rope_inverse_frequencies(const ModelConfig& config) {
  const Rope& rope = config.rope;
  std::vector<double> out;
  for (int64_t i = 0; i < config.head_dim; i += 2) {
    const double frequency =
        std::pow(rope.theta, -static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (rope.type == "default") {
      out.push_back(frequency);
    } else if (rope.type == "linear") {
      out.push_back(frequency / rope.factor);
    } else {  // llama3: short waves stay, long ones are stretched, between them a ramp
      const double turns = static_cast<double>(rope.original_max_position_embeddings) * frequency /
                           (2 * std::numbers::pi);
      const double stays = std::clamp(
          (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0,
          1.0);
      out.push_back((1 - stays) * frequency / rope.factor + stays * frequency);
    }
  }
  return out;
}

}  // namespace luce
