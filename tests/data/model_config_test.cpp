#include "luce/data/model_config.h"

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {

ModelConfig parse(const std::string& text) {
  return parse_model_config(parse_json(text, "c"), "config.json");
}

/// A llama config with further keys, and the error that they give.
std::string llama(const std::string& keys) {
  return R"({"model_type":"llama")" + (keys.empty() ? "" : "," + keys) + "}";
}
std::string error_for(const std::string& keys) {
  return error_of<DataError>([&] { parse(llama(keys)); });
}

TEST(ModelConfig, AMissingKeyHasTheDefaultOfTransformers) {
  const ModelConfig c = parse(llama(""));
  EXPECT_EQ(c.vocab_size, 32000);
  EXPECT_EQ(c.hidden_size, 4096);
  EXPECT_EQ(c.intermediate_size, 11008);
  EXPECT_EQ(c.num_hidden_layers, 32);
  EXPECT_EQ(c.num_attention_heads, 32);
  EXPECT_EQ(c.num_key_value_heads, 32);
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.max_position_embeddings, 2048);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.initializer_range, 0.02);
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_FALSE(c.attention_bias);
  EXPECT_FALSE(c.mlp_bias);
  EXPECT_EQ(c.hidden_act, "silu");
  EXPECT_EQ(c.dtype, "float32");
  EXPECT_EQ(c.bos_token_id, 1);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{2}));
  EXPECT_EQ(c.rope.type, "default");
  EXPECT_EQ(c.rope.theta, 10000);
}

TEST(ModelConfig, SizesThatDependOnOthersFollowThem) {
  const ModelConfig c = parse(llama(R"("hidden_size":96,"num_attention_heads":6)"));
  EXPECT_EQ(c.num_key_value_heads, 6);
  EXPECT_EQ(c.head_dim, 16);
  const ModelConfig nulls = parse(llama(
      R"("hidden_size":96,"num_attention_heads":6,"num_key_value_heads":null,"head_dim":null,"rope_scaling":null,
         "bos_token_id":null,"eos_token_id":null,"pad_token_id":null,"dtype":null,"torch_dtype":null)"));
  EXPECT_EQ(nulls.num_key_value_heads, 6);
  EXPECT_EQ(nulls.head_dim, 16);
  EXPECT_EQ(nulls.dtype, "float32");
  EXPECT_FALSE(nulls.bos_token_id.has_value());
  EXPECT_TRUE(nulls.eos_token_ids.empty());
  EXPECT_EQ(parse(llama(R"("hidden_size":50,"num_attention_heads":4,"head_dim":8)")).head_dim, 8);
}

TEST(ModelConfig, EosIsANumberOrAList) {
  EXPECT_EQ(parse(llama(R"("eos_token_id":7)")).eos_token_ids, (std::vector<int64_t>{7}));
  EXPECT_EQ(parse(llama(R"("eos_token_id":[7,9])")).eos_token_ids, (std::vector<int64_t>{7, 9}));
  EXPECT_EQ(parse(llama(R"("eos_token_id":[])")).eos_token_ids, (std::vector<int64_t>{}));
}

TEST(ModelConfig, BothSpellingsSayTheSame) {
  const std::string sizes = R"("max_position_embeddings":4096,)";
  const ModelConfig v4 = parse(llama(
      sizes +
      R"("torch_dtype":"bfloat16","rope_theta":500000.0,"rope_scaling":{"factor":8.0,"high_freq_factor":4.0,
                 "low_freq_factor":1.0,"original_max_position_embeddings":1024,"rope_type":"llama3"})"));
  const ModelConfig v5 = parse(llama(
      sizes +
      R"("dtype":"bfloat16","rope_parameters":{"factor":8.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
                 "original_max_position_embeddings":1024,"rope_type":"llama3","rope_theta":500000.0})"));
  for (const ModelConfig& c : {v4, v5}) {
    EXPECT_EQ(c.dtype, "bfloat16");
    EXPECT_EQ(c.rope.type, "llama3");
    EXPECT_EQ(c.rope.theta, 500000);
    EXPECT_EQ(c.rope.factor, 8);
    EXPECT_EQ(c.rope.low_freq_factor, 1);
    EXPECT_EQ(c.rope.high_freq_factor, 4);
    EXPECT_EQ(c.rope.original_max_position_embeddings, 1024);
  }
  EXPECT_EQ(rope_inverse_frequencies(v4), rope_inverse_frequencies(v5));
}

TEST(ModelConfig, WhereKeysCompeteTheSameOneWinsAsInTransformers) {
  EXPECT_EQ(parse(llama(R"("dtype":"float16","torch_dtype":"float32")")).dtype, "float16");
  EXPECT_EQ(parse(llama(R"("dtype":null,"torch_dtype":"float16")")).dtype, "float16");
  // rope_scaling before rope_parameters, unless it is null or empty
  const std::string parameters =
      R"(,"rope_parameters":{"rope_type":"linear","factor":3,"rope_theta":7})";
  const Rope old = parse(llama(R"("rope_scaling":{"type":"linear","factor":2})" + parameters)).rope;
  EXPECT_EQ(old.factor, 2);
  EXPECT_EQ(old.theta, 10000);
  EXPECT_EQ(parse(llama(R"("rope_scaling":null)" + parameters)).rope.factor, 3);
  EXPECT_EQ(parse(llama(R"("rope_scaling":{})" + parameters)).rope.theta, 7);
  // inside before outside, for θ; outside before inside, for the original length
  EXPECT_EQ(parse(llama(R"("rope_theta":5)" + parameters)).rope.theta, 7);
  EXPECT_EQ(
      parse(llama(R"("rope_theta":5,"rope_scaling":{"type":"linear","factor":2})")).rope.theta, 5);
  EXPECT_EQ(parse(llama(R"("rope_scaling":{"rope_type":"default","type":"linear"})")).rope.type,
            "default");
  const std::string llama3 =
      R"("rope_type":"llama3","factor":2,"low_freq_factor":1,"high_freq_factor":4)";
  EXPECT_EQ(
      parse(llama(R"("rope_parameters":{)" + llama3 + R"(,"original_max_position_embeddings":64},
                          "original_max_position_embeddings":32)"))
          .rope.original_max_position_embeddings,
      32);
  EXPECT_EQ(
      parse(llama(R"("rope_parameters":{)" + llama3 + "}")).rope.original_max_position_embeddings,
      2048);
}

TEST(ModelConfig, RefusesValuesWithTheirKey) {
  const std::string c = "config.json: ", scaling = "config.json: rope_scaling: ";
  const std::string size = " must be a whole number from 1 to 16777216, got ";
  const std::vector<std::pair<std::string, std::string>> cases = {
      // types
      {R"("hidden_size":"64")", c + "hidden_size" + size + "\"64\""},
      {R"("hidden_size":64.0)", c + "hidden_size" + size + "64.0"},
      {R"("hidden_size":null)", c + "hidden_size" + size + "null"},
      {R"("hidden_size":[64])", c + "hidden_size" + size + "[64]"},
      {R"("hidden_size":true)", c + "hidden_size" + size + "true"},
      {R"("rms_norm_eps":"1e-5")",
       c + "rms_norm_eps must be a number above 0, at most 1, got \"1e-5\""},
      {R"("rms_norm_eps":null)", c + "rms_norm_eps must be a number above 0, at most 1, got null"},
      {R"("tie_word_embeddings":1)", c + "tie_word_embeddings must be true or false, got 1"},
      {R"("attention_bias":"false")", c + "attention_bias must be true or false, got \"false\""},
      {R"("mlp_bias":null)", c + "mlp_bias must be true or false, got null"},
      {R"("hidden_act":null)", c + "hidden_act must be a text, got null"},
      {R"("torch_dtype":32)", c + "torch_dtype must be a text, got 32"},
      {R"("bos_token_id":"1")",
       c + "bos_token_id must be a whole number from 0 to 31999, got \"1\""},
      {R"("eos_token_id":2.0)", c + "eos_token_id must be a whole number from 0 to 31999, got 2.0"},
      {R"("eos_token_id":[2,null])",
       c + "an entry of eos_token_id must be a whole number from 0 to 31999, got null"},
      {R"("hidden_size":")" + std::string(100, 'x') + "\"",
       c + "hidden_size" + size + "\"" + std::string(59, 'x') + "…"},
      // ranges
      {R"("vocab_size":0)", c + "vocab_size" + size + "0"},
      {R"("vocab_size":16777217)", c + "vocab_size" + size + "16777217"},
      {R"("vocab_size":18446744073709551615)", c + "vocab_size" + size + "18446744073709551615"},
      {R"("intermediate_size":-1)", c + "intermediate_size" + size + "-1"},
      {R"("num_hidden_layers":1000000)",
       c + "num_hidden_layers must be a whole number from 1 to 4096, got 1000000"},
      {R"("num_attention_heads":0)",
       c + "num_attention_heads must be a whole number from 1 to 65536, got 0"},
      {R"("num_key_value_heads":0)",
       c + "num_key_value_heads must be a whole number from 1 to 65536, got 0"},
      {R"("head_dim":0)", c + "head_dim must be a whole number from 1 to 65536, got 0"},
      {R"("max_position_embeddings":0)",
       c + "max_position_embeddings must be a whole number from 1 to 1073741824, got 0"},
      {R"("rms_norm_eps":0)", c + "rms_norm_eps must be a number above 0, at most 1, got 0"},
      {R"("initializer_range":-0.1)",
       c + "initializer_range must be a number from 0 to 1, got -0.1"},
      {R"("eos_token_id":32000)",
       c + "eos_token_id must be a whole number from 0 to 31999, got 32000"},
      {R"("eos_token_id":-1)", c + "eos_token_id must be a whole number from 0 to 31999, got -1"},
      // contradictions
      {R"("num_attention_heads":8,"num_key_value_heads":3)",
       c + "num_attention_heads 8 must be a multiple of num_key_value_heads 3"},
      {R"("hidden_size":65,"num_attention_heads":8)",
       c + "hidden_size 65 must be a multiple of num_attention_heads 8 where head_dim is not "
           "given"},
      {R"("head_dim":7)", c + "head_dim must be even, since RoPE turns pairs of dimensions, got 7"},
      {R"("num_attention_heads":65536,"num_key_value_heads":1,"head_dim":65536)",
       c + "num_attention_heads 65536 × head_dim 65536 must be at most 16777216"},
      // not supported
      {R"("hidden_act":"gelu")", c + "hidden_act \"gelu\" is not supported; supported: silu"},
      {R"("dtype":"float8_e4m3fn")", c + "dtype \"float8_e4m3fn\" is not supported; supported: "
                                         "float64, float32, float16, bfloat16"},
      {R"("quantization_config":{"bits":4})", c + "quantization_config: quantized weights are not "
                                                  "supported; use the model they were made from"},
      // RoPE
      {R"("rope_theta":0)", c + "rope_theta must be a number above 0, at most 1e+30, got 0"},
      {R"("rope_theta":null)", c + "rope_theta must be a number above 0, at most 1e+30, got null"},
      {R"("rope_scaling":"linear")", c + "rope_scaling must be an object or null, got \"linear\""},
      {R"("rope_parameters":[1])", c + "rope_parameters must be an object or null, got [1]"},
      {R"("rope_scaling":{"type":"dynamic","factor":2})",
       scaling + "rope_type must be default, linear or llama3, got \"dynamic\""},
      {R"("rope_parameters":{"rope_type":"yarn"})",
       c + "rope_parameters: rope_type must be default, linear or llama3, got \"yarn\""},
      {R"("rope_scaling":{"type":1})", scaling + "type must be a text, got 1"},
      {R"("rope_scaling":{"type":"linear"})", scaling + "rope_type linear needs factor"},
      {R"("rope_scaling":{"type":"linear","factor":0})",
       scaling + "factor must be a number above 0, at most 1e+09, got 0"},
      {R"("rope_scaling":{"type":"linear","factor":"2"})",
       scaling + "factor must be a number above 0, at most 1e+09, got \"2\""},
      {R"("rope_scaling":{"type":"llama3","factor":2,"low_freq_factor":1})",
       scaling + "rope_type llama3 needs high_freq_factor"},
      {R"("rope_scaling":{"type":"llama3","factor":2,"high_freq_factor":1})",
       scaling + "rope_type llama3 needs low_freq_factor"},
      {R"("rope_scaling":{"type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":4})",
       scaling + "high_freq_factor 4 must be above low_freq_factor 4"},
      {R"("rope_scaling":{"type":"llama3","factor":2,"low_freq_factor":1,"high_freq_factor":4,
           "original_max_position_embeddings":0})",
       scaling +
           "original_max_position_embeddings must be a whole number from 1 to 1073741824, got 0"},
      {R"("partial_rotary_factor":0.5)", c + "partial_rotary_factor must be 1, got 0.5"},
      {R"("rope_parameters":{"partial_rotary_factor":0.5})",
       c + "rope_parameters: partial_rotary_factor must be 1, got 0.5"},
      {R"("rope_parameters":{"full_attention":{"rope_type":"default"}})",
       c + "rope_parameters: full_attention: RoPE that differs between layers is not supported"},
  };
  for (const auto& [keys, error] : cases) EXPECT_EQ(error_for(keys), error) << keys;
}

TEST(ModelConfig, RefusesOtherModels) {
  const auto error = [](const std::string& text) {
    return error_of<DataError>([&] { parse(text); });
  };
  EXPECT_EQ(error("{}"), "config.json: model_type is missing; supported: llama");
  EXPECT_EQ(error(R"({"model_type":"gpt2"})"),
            "config.json: model_type \"gpt2\" is not supported; supported: llama");
  EXPECT_EQ(error(R"({"model_type":7})"), "config.json: model_type must be a text, got 7");
  EXPECT_EQ(error("[1]"), "config.json: a model's config must be an object, got [1]");
}

TEST(ModelConfig, ASaveKeepsKeysAndOrder) {
  const std::string old =
      R"({"zebra":{"b":1,"a":[null]},"torch_dtype":"float16","model_type":"llama","architectures":["Other"],)"
      R"("rope_scaling":null,"vocab_size":32000,"eos_token_id":[2,3]})";
  EXPECT_EQ(
      to_json(parse(old), "bfloat16").dump(),
      R"({"zebra":{"b":1,"a":[null]},"torch_dtype":"bfloat16","model_type":"llama",)"
      R"("architectures":["LlamaForCausalLM"],"rope_scaling":null,"vocab_size":32000,"eos_token_id":[2,3]})");
  EXPECT_EQ(
      to_json(parse(R"({"dtype":null,"model_type":"llama"})"), "float32").dump(),
      R"({"dtype":"float32","model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":32000})");
  EXPECT_EQ(to_json(parse(R"({"torch_dtype":"float16","dtype":"float16","model_type":"llama"})"),
                    "float32")
                .dump(),
            R"({"torch_dtype":"float32","dtype":"float32","model_type":"llama",)"
            R"("architectures":["LlamaForCausalLM"],"vocab_size":32000})");
  ModelConfig grown = parse(llama(R"("vocab_size":10)"));
  grown.vocab_size = 12;
  EXPECT_EQ(to_json(grown, "float32")["vocab_size"], 12);
}

TEST(ModelConfig, AConfigMadeInCodeIsWrittenWhole) {
  ModelConfig made;
  made.vocab_size = 100;
  made.hidden_size = 32;
  made.intermediate_size = 88;
  made.num_hidden_layers = 2;
  made.num_attention_heads = 4;
  made.num_key_value_heads = 2;
  made.head_dim = 16;
  made.max_position_embeddings = 64;
  made.rms_norm_eps = 1e-5;
  made.initializer_range = 0.1;
  made.tie_word_embeddings = made.attention_bias = made.mlp_bias = true;
  made.rope = {"llama3", 500, 8, 2, 5, 32};
  made.bos_token_id.reset();
  made.eos_token_ids = {3, 4};
  const ModelConfig read = parse_model_config(to_json(made, "bfloat16"), "config.json");
  EXPECT_EQ(read.vocab_size, 100);
  EXPECT_EQ(read.hidden_size, 32);
  EXPECT_EQ(read.intermediate_size, 88);
  EXPECT_EQ(read.num_hidden_layers, 2);
  EXPECT_EQ(read.num_attention_heads, 4);
  EXPECT_EQ(read.num_key_value_heads, 2);
  EXPECT_EQ(read.head_dim, 16);
  EXPECT_EQ(read.max_position_embeddings, 64);
  EXPECT_EQ(read.rms_norm_eps, 1e-5);
  EXPECT_EQ(read.initializer_range, 0.1);
  EXPECT_TRUE(read.tie_word_embeddings && read.attention_bias && read.mlp_bias);
  EXPECT_EQ(read.rope.type, "llama3");
  EXPECT_EQ(read.rope.theta, 500);
  EXPECT_EQ(read.rope.factor, 8);
  EXPECT_EQ(read.rope.low_freq_factor, 2);
  EXPECT_EQ(read.rope.high_freq_factor, 5);
  EXPECT_EQ(read.rope.original_max_position_embeddings, 32);
  EXPECT_EQ(read.dtype, "bfloat16");
  EXPECT_FALSE(read.bos_token_id.has_value());
  EXPECT_EQ(read.eos_token_ids, (std::vector<int64_t>{3, 4}));
}

/// Values of transformers 5.23.0, which computes them in f32; head_dim 16.
TEST(ModelConfig, RopeFrequenciesAreThoseOfTransformers) {
  struct Case {
    std::string keys;
    std::vector<double> expected;
  };
  const std::vector<Case> cases = {
      {R"("rope_theta":10000.0)",
       {1.0, 0.316227764, 0.100000001, 0.0316227786, 0.00999999978, 0.00316227786, 0.00100000005,
        0.000316227786}},
      {R"("rope_theta":500000.0)",
       {1.0, 0.193922758, 0.0376060307, 0.00729266508, 0.00141421345, 0.000274248188,
        5.31829573e-05, 1.03133852e-05}},
      {R"("rope_scaling":{"type":"linear","factor":4.0})",
       {0.25, 0.079056941, 0.0250000004, 0.00790569466, 0.00249999994, 0.000790569466,
        0.000250000012, 7.90569466e-05}},
      {R"("rope_theta":500000.0,"max_position_embeddings":131072,"rope_scaling":{"rope_type":"llama3","factor":32.0,
          "low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192})",
       {1.0, 0.193922758, 0.0376060307, 0.00729266508, 0.000429556705, 8.57025589e-06,
        1.66196742e-06, 3.22293289e-07}},
  };
  for (const auto& c : cases) {
    const auto got = rope_inverse_frequencies(parse(llama(R"("head_dim":16,)" + c.keys)));
    ASSERT_EQ(got.size(), c.expected.size());
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i] / c.expected[i], 1, 3e-7) << c.keys << " [" << i << "]";
  }
}

TEST(ModelConfig, ReadsTheFilesOfTransformersInBothSpellings) {
  const std::filesystem::path golden = std::filesystem::path(LUCE_SOURCE_DIR) / "tests/golden";
  const ModelConfig tied = read_model_config(golden / "tiny");
  EXPECT_TRUE(tied.tie_word_embeddings);
  EXPECT_EQ(tied.rope.type, "default");
  EXPECT_EQ(tied.hidden_size, 32);
  const ModelConfig untied = read_model_config(golden / "tiny-untied");
  EXPECT_FALSE(untied.tie_word_embeddings);
  EXPECT_TRUE(untied.attention_bias && untied.mlp_bias);
  EXPECT_EQ(untied.rope.type, "llama3");
  EXPECT_EQ(untied.rope.theta, 500);
  EXPECT_EQ(untied.rope.original_max_position_embeddings, 64);
  EXPECT_EQ(to_json(untied, "float32"), untied.source);
}

TEST(ModelConfig, AFileThatIsMissingOrBrokenIsNamed) {
  const TemporaryFolder folder;
  EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { read_model_config(folder.path()); })),
            "cannot read config.json: No such file or directory");
  folder.write("config.json", "{\n\"model_type\":\"llama\",\n\"hidden_size\":6 4}");
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { read_model_config(folder.path()); })),
            "config.json:3:17: not valid JSON near '4'");
  folder.write("config.json", llama(R"("hidden_size":"64")"));
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { read_model_config(folder.path()); })),
            "config.json: hidden_size must be a whole number from 1 to 16777216, got \"64\"");
}

}  // namespace
}  // namespace luce
