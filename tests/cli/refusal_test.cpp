// One corrupt or hostile input of each kind: its exit code and its sentence, and no harm done.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zlib.h>

#include <cstring>

#include "program.h"

namespace luce::cli_test {
namespace {

/// `text` with the first `from` replaced.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string gzip(const Workspace& at, const std::string& content) {
  const std::string path = at / "packed";
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
  gzclose(file);
  return read_file(path);
}

/// `count` rows of pairs, a line each.
Strings pairs(int count) {
  Strings rows;
  for (int i = 0; i < count; ++i)
    rows.push_back(
        Json{{"prompt", "the cat"}, {"chosen", cat(" sat ", i)}, {"rejected", " ran"}}.dump());
  return rows;
}

std::string joined(const Strings& lines) {
  std::string out;
  for (const auto& line : lines) out += line + "\n";
  return out;
}

TEST(CliRefusal, NamesFileLineAndNearestKeyOfABadConfig) {
  const Workspace at;
  const std::string good = read_file(at.dpo);
  const auto refuse = [&](const std::string& text, const std::string& sentence) {
    expect_refusal(at, {"train", at.file("c.json", text)}, 64, sentence);
  };
  refuse(replaced(good, "\"batch_size\"", "\"batch_sizes\""),
         "c.json:11: unknown key \"batch_sizes\" in train; did you mean \"batch_size\"?");
  refuse(replaced(good, "\"max_steps\": 3", "\"max_steps\": \"3\""),
         "c.json:10: train.max_steps must be a whole number; got \"3\"");
  refuse(replaced(good, "\"batch_size\": 4", "\"batch_size\": 0"),
         "c.json:11: train.batch_size must be at least 1; got 0");
  refuse(
      replaced(good, "\"preference\"", "\"preferences\""),
      "c.json:17: task must be one of sft, preference, reward, rl (did you mean preference?); got "
      "\"preferences\"");
  refuse(replaced(good, "\"max_steps\": 3,", "\"max_steps\": 3"),
         "c.json:11:14: not valid JSON near '\"batch_size\"'");
  refuse(replaced(good, "\"batch_size\": 4", "\"batch_size\": 4, \"max_steps\": 1"),
         "c.json:11:20: the key \"max_steps\" stands twice in one object");
  refuse("[]", "c.json: a config is a JSON object { … }");
  refuse("{\"task\": \"sft\"}", "c.json: model.path is missing: a Hugging Face model folder");
  refuse(replaced(good, "\"type\": \"dpo\"", "\"type\": \"dop\""),
         luce({"explain", "dop"}).sentence().replace(0, 12, "c.json:19"));
  refuse(replaced(good, "\"type\": \"dpo\"", "\"type\": \"dpo\", \"btea\": 1"),
         "c.json:19: unknown key \"btea\" in loss \"dpo\"; did you mean \"beta\"?");
}

TEST(CliRefusal, NamesAConfigThatIsNotThere) {
  const Workspace at;
  const std::string none = at / "none.json";
  for (const std::string verb : {"train", "check"})
    expect_refusal(at, {verb, none}, 66, "cannot read none.json: No such file or directory");
  expect_refusal(at, {"train", at.path().string()}, 66,
                 "cannot read FOLDER: it is not a regular file");
}

TEST(CliRefusal, NamesTheOverrideThatCannotBeObeyed) {
  const Workspace at;
  const auto refuse = [&](const std::string& assignment, const std::string& sentence) {
    expect_refusal(at, {"train", at.dpo, assignment}, 64, sentence);
  };
  refuse("train.seed", "command line: expected key.path=value, got \"train.seed\"");
  refuse("train.sedd=1",
         "command line (train.sedd=1): unknown key \"sedd\" in train; did you mean \"seed\"?");
  refuse("train.seed=x",
         "command line (train.seed=x): train.seed must be a whole number; got \"x\"");
  refuse("task.x=1",
         "command line (task.x=1): task is a plain value, so \"x\" cannot stand inside it");
  refuse("loss.beta=-1", "command line (loss.beta=-1): loss.beta must be above 0; got -1");
  refuse("loss=[{\"type\": \"dpo\"}, 3]",
         "command line (loss=[{\"type\": \"dpo\"}, 3]): a loss is an object with a \"type\", for "
         "example {\"type\": \"dpo\"}");
}

TEST(CliRefusal, RefusesATaskThatDoesNotFitItsLossOrItsRows) {
  const Workspace at;
  expect_refusal(at, {"train", at.dpo, "task=sft"}, 64,
                 "dpo.json:18: this loss compares answers; it needs task \"preference\"");
  expect_refusal(
      at, {"train", at.sft, "task=preference"}, 64,
      "sft.json:1: task \"preference\" needs a \"loss\", for example {\"type\": \"dpo\"}");
  const std::string texts = golden("sft_tiny.jsonl"), rows = golden("pairs_tiny.jsonl");
  expect_refusal(at, {"train", at.dpo, "data.train=" + texts}, 65,
                 texts +
                     ": task \"preference\" with this loss needs preference rows, and these are "
                     "prompt_completion rows (data.type says how rows are read)");
  expect_refusal(at, {"train", at.sft, "data.train=" + rows}, 65,
                 rows +
                     ": task \"sft\" with this loss needs text or prompt_completion or input_ids "
                     "rows, and these are preference rows (data.type says how rows are read)");
}

TEST(CliRefusal, StopsAtBadRowsAndNamesThem) {
  const Workspace at;
  Strings rows = pairs(150);
  const auto refuse = [&](const std::string& name, const std::string& content, int code,
                          const std::string& sentence,
                          const std::string& more = "data.strict=false") {
    expect_refusal(at, {"check", at.dpo, "data.train=" + at.file(name, content), more}, code,
                   sentence);
  };
  rows[4] = "{\"prompt\": \"x\"";
  const std::string problem = "r.jsonl:5: column 14: not valid JSON near '\"x\"'";
  refuse("r.jsonl", joined(rows), 65, problem + "; data.strict stops at the first bad row",
         "data.strict=true");
  rows[9] = "{\"prompt\": \"x\", \"chosen\": 1}";
  refuse("r.jsonl", joined(rows), 65,
         "r.jsonl: 2 of 150 rows are bad (1.33 %; more than 1 % stops):\n  " + problem +
             "\n  r.jsonl:10: \"chosen\" is a number, expected a string");
  refuse("r.jsonl", "", 65, "r.jsonl holds no rows");
  refuse("r.jsonl", "{\"a\": 1}\n", 65,
         "r.jsonl:1: rows of no known type: the keys are \"a\"; expected \"chosen\" and "
         "\"rejected\", \"prompt\" and \"completion\" (perhaps with \"label\" or \"score\"), "
         "\"prompt\" and \"completions\" with \"ranks\", \"scores\" or \"labels\", \"text\", or "
         "\"input_ids\" (data.column_map renames columns)");
  refuse("r.txt", joined(pairs(1)), 64,
         "r.txt: rows are read from .jsonl and .json files, both also with .gz");

  const std::string packed = gzip(at, joined(pairs(150)));
  refuse("r.jsonl.gz", packed.substr(0, packed.size() / 2), 65,
         "r.jsonl.gz: the compressed data is cut off, after 0 lines");
  std::string damaged = packed;
  damaged[10] = '\x07';  // a block of a type that does not exist
  refuse("r.jsonl.gz", damaged, 65,
         "r.jsonl.gz: the compressed data is damaged (invalid block type), after 0 lines");
}

TEST(CliRefusal, NamesRowsThatAreNoFile) {
  const Workspace at;
  ASSERT_EQ(::mkfifo((at / "fifo.jsonl").c_str(), 0600), 0);
  const auto refuse = [&](const std::string& name, const std::string& why) {
    expect_refusal(at, {"check", at.dpo, "data.train=" + (at / name).string()}, 66,
                   "cannot read " + name + ": " + why);
  };
  refuse("none.jsonl", "No such file or directory");
  refuse("fifo.jsonl", "it is not a regular file");  // and it does not wait for a writer
}

TEST(CliRefusal, RefusesBrokenWeights) {
  const Workspace at;
  const std::string model = at.model("m"), ids = at.file("ids.jsonl", "{\"input_ids\": [1, 5]}\n");
  const std::string good = read_file(model + "/model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, good.data(), 8);
  const auto refuse = [&](const std::string& weights, const std::string& sentence) {
    at.file("m/model.safetensors", weights);
    expect_refusal(at, {"logprobs", model, ids}, 65, sentence);
  };
  const auto with_length = [&](uint64_t n) {
    std::string out = good;
    std::memcpy(out.data(), &n, 8);
    return out;
  };
  refuse(good.substr(0, good.size() - 100),
         cat("m/model.safetensors: tensor \"model.norm.weight\": ends at byte ",
             good.size() - 8 - length, " of the data, but the file has only ",
             good.size() - 108 - length, ": it is cut short"));
  refuse(with_length(uint64_t{1} << 40),
         "m/model.safetensors: the header claims 1099511627776 bytes; at most 100000000 are "
         "accepted. Is it a safetensors file?");
  refuse("PK\x03\x04",
         "m/model.safetensors: 4 bytes are too few for a safetensors file, which begins with the "
         "8-byte length of its header");
  refuse(replaced(good, "\"model.norm.weight\"", "\"model.Norm.weight\""),
         "m: the weights hold no tensor \"model.norm.weight\", which config.json asks for");
  refuse(replaced(good, "\"shape\":[352,32]", "\"shape\":[353,32]"),
         "m/model.safetensors: tensor \"model.embed_tokens.weight\": shape [353, 32] of F32 needs "
         "45184 bytes, but data_offsets [0, 45056] span 45056");

  std::filesystem::remove(model + "/model.safetensors");
  expect_refusal(at, {"logprobs", model, ids}, 66,
                 "no weights in m: neither model.safetensors nor model.safetensors.index.json is "
                 "there");
  at.file("m/model.safetensors.index.json",
          "{\"weight_map\": {\"a\": \"../other/model.safetensors\"}}");
  expect_refusal(at, {"logprobs", model, ids}, 65,
                 "m/model.safetensors.index.json: weight_map: the shard "
                 "\"../other/model.safetensors\" of tensor \"a\" leads out of the folder; a shard "
                 "is a file of the index's own folder");
}

TEST(CliRefusal, RefusesAConfigOfAModelThatItCannotRun) {
  const Workspace at;
  const std::string model = at.model("m"), ids = at.file("ids.jsonl", "{\"input_ids\": [1, 5]}\n");
  const Json good = golden_json("tiny/config.json");
  const auto refuse = [&](const std::string& key, const Json& value, const std::string& sentence) {
    Json changed = good;
    changed[key] = value;
    at.file("m/config.json", changed.dump());
    expect_refusal(at, {"logprobs", model, ids}, 65, sentence);
  };
  refuse("model_type", "gpt2",
         "m/config.json: model_type \"gpt2\" is not supported; supported: llama");
  refuse("num_hidden_layers", "2",
         "m/config.json: num_hidden_layers must be a whole number from 1 to 4096, got \"2\"");
  refuse("hidden_size", 48,
         "m: the tensor \"model.embed_tokens.weight\" has shape [352, 32]; config.json asks for "
         "[352, 48]");
  refuse("num_hidden_layers", 3,
         "m: the weights hold no tensor \"model.layers.2.input_layernorm.weight\", which "
         "config.json asks for");
  at.file("m/config.json", "{\n\"model_type\": llama}");
  expect_refusal(at, {"logprobs", model, ids}, 65,
                 "m/config.json:2:15: not valid JSON near '\"model_type\": l'");
}

TEST(CliRefusal, RefusesABrokenTokenizer) {
  const Workspace at;
  const std::string model = at.model("m");
  const std::string good = read_file(model + "/tokenizer.model");
  const Strings command = {"generate", model, "--prompt", "x"};
  at.file("m/tokenizer.model", "garbage");
  expect_refusal(
      at, command, 65,
      "m/tokenizer.model: not a SentencePiece model: a field of an unknown wire type, at "
      "byte 0");
  at.file("m/tokenizer.model", good.substr(0, 1001));
  const Outcome cut = luce(command);
  EXPECT_EQ(cut.code, 65);
  EXPECT_EQ(at.strip(cut.sentence()).rfind("m/tokenizer.model: not a SentencePiece model: ", 0), 0U)
      << cut.sentence();
  std::filesystem::remove(model + "/tokenizer.model");
  expect_refusal(at, command, 66, "m holds no tokenizer.model");
}

TEST(CliRefusal, NamesAModelFolderThatIsNotThere) {
  const Workspace at;
  const std::string none = at / "none",
                    why = "cannot read none/config.json: No such file or directory";
  expect_refusal(at, {"generate", none, "--prompt", "x"}, 66, why);
  expect_refusal(at, {"logprobs", none, golden("sft_tiny.jsonl")}, 66, why);
  expect_refusal(at, {"train", at.dpo, "model.path=" + none}, 66, why);
  expect_refusal(at, {"report", none}, 66,
                 "cannot read none/metrics.jsonl: No such file or directory");
}

TEST(CliRefusal, NamesAnOutputFolderThatCannotBeMade) {
  const Workspace at;
  const std::string file = at.file("file", "precious");
  expect_refusal(at, {"train", at.dpo, "output_dir=" + file}, 73,
                 "cannot make the folder file: a file of that name is there");
  expect_refusal(at, {"train", at.dpo, "output_dir=" + file + "/below"}, 73,
                 "cannot make the folder file/below: Not a directory");
  EXPECT_EQ(read_file(file), "precious");
}

TEST(CliRefusal, NamesMemoryThatIsNotToBeHad) {
  const Workspace at;
  Json config = golden_json("tiny/config.json");
  config["hidden_size"] = config["vocab_size"] = 1 << 24;
  const std::string path = at.file("config.json", config.dump());
  const Outcome outcome = luce({"init", path, (at / "new").string()});
  EXPECT_EQ(outcome.code, 71);
  EXPECT_EQ(
      outcome.sentence().rfind("out of memory: you tried to allocate 2251799813685248 bytes", 0),
      0U)
      << outcome.sentence();
}

TEST(CliRefusal, StopsWhenTheNumbersAreNotFinite) {
  const Workspace at;
  const Outcome outcome = luce({"train", at.sft, "train.learning_rate=1e30"});
  EXPECT_EQ(outcome.code, 76);
  EXPECT_NE(outcome.sentence().find("not finite"), std::string::npos) << outcome.sentence();
  EXPECT_NE(outcome.sentence().find("of the data; the model was not updated"), std::string::npos)
      << outcome.sentence();
  EXPECT_FALSE(std::filesystem::exists(at.out() / "model.safetensors"));
}

}  // namespace
}  // namespace luce::cli_test
