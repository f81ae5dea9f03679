#include "luce/data/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "data/temporary_folder.h"
#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"
#include "luce/data/utf8.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

using Ids = std::vector<int64_t>;

const fs::path kSource = LUCE_SOURCE_DIR;
const fs::path kFiles = kSource / "tests/data/files";

const Json& golden() {
  static const Json json =
      parse_json(read_file(kSource / "tests/golden/tokens.json"), "tokens.json");
  return json;
}

/// Loads one of the small models with a config beside it ("" for none).
std::shared_ptr<const Tokenizer> load(const std::string& config = golden()["config"].dump(),
                                      const std::string& model = "tiny.model") {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", read_file(kFiles / model));
  if (!config.empty()) folder.write("tokenizer_config.json", config);
  return Tokenizer::load(folder.path());
}

/// 64-bit FNV-1a of 32-bit little-endian numbers, as in make_tokens.py.
std::string fnv(const Ids& ids) {
  uint64_t value = 0xCBF29CE484222325u;
  for (const int64_t id : ids)
    for (int i = 0; i < 4; ++i)
      value = (value ^ (static_cast<uint64_t>(id) >> (8 * i) & 255)) * 0x100000001B3u;
  char out[17];
  std::snprintf(out, sizeof out, "%016lx", value);
  return out;
}

TEST(Tokenizer, EncodesAsTransformersDoes) {
  const auto tokenizer = load();
  for (const auto& entry : golden()["encode"])
    EXPECT_EQ(tokenizer->encode(entry["text"].get<std::string>(), true), entry["ids"].get<Ids>())
        << entry["text"];
}

TEST(Tokenizer, CutsAddedTokensOutOfTheTextAsTransformersDoes) {
  const auto tokenizer = load(golden()["added_config"].dump());
  EXPECT_EQ(tokenizer->vocab_size(), 357);
  EXPECT_EQ(tokenizer->piece(352), "<left>");
  for (const auto& entry : golden()["encode_added"])
    EXPECT_EQ(tokenizer->encode(entry["text"].get<std::string>(), true), entry["ids"].get<Ids>())
        << entry["text"];
  EXPECT_EQ(tokenizer->decode({261, 352, 355}), "a<plain>");
  EXPECT_EQ(tokenizer->decode({261, 352, 355}, false), "a<left><plain>");
}

TEST(Tokenizer, EncodesUnigramModelsAsSentencePieceDoes) {
  const auto tokenizer = load("", "tiny-unigram.model");
  for (const auto& entry : golden()["encode_unigram"])
    EXPECT_EQ(tokenizer->encode(entry["text"].get<std::string>(), false), entry["ids"].get<Ids>())
        << entry["text"];
  // User-defined pieces are one token wherever they stand; the longest wins.
  EXPECT_EQ(tokenizer->encode("[ab][a]", false), (Ids{4, 3}));
  EXPECT_EQ(tokenizer->decode({4, 3}), "[ab][a]");
}

TEST(Tokenizer, EncodesAsTransformersDoesWithRealModels) {
  const char* data = std::getenv("LUCE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  for (const auto& [name, hashes] : golden()["real"].items()) {
    const auto tokenizer = Tokenizer::load(fs::path(data) / "models" / name);
    for (size_t i = 0; i < hashes.size(); ++i) {
      const auto text = golden()["encode"][i]["text"].get<std::string>();
      EXPECT_EQ(fnv(tokenizer->encode(text, true)), hashes[i].get<std::string>())
          << name << ": " << text;
    }
  }
}

TEST(Tokenizer, DecodingUndoesEncoding) {
  for (const auto& tokenizer : {load(), load(R"({"add_prefix_space": false})")})
    for (const auto& entry : golden()["encode"]) {
      const auto text = entry["text"].get<std::string>();
      if (text.find("\xE2\x96\x81") != std::string::npos) continue;  // ▁ becomes a space
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false), false), text);
    }
}

TEST(Tokenizer, DecodingLeavesSpecialTokensOutUnlessAsked) {
  const auto tokenizer = load();
  const Ids ids = tokenizer->encode("the fox</s>", true);
  EXPECT_EQ(tokenizer->decode(ids), "the fox");
  EXPECT_EQ(tokenizer->decode(ids, false), "<s> the fox</s>");
  EXPECT_EQ(tokenizer->decode({261, 0, 313}), "at");
  EXPECT_EQ(tokenizer->decode({}), "");
}

TEST(Tokenizer, BytesThatFormNoCharacterDecodeToReplacementCharacters) {
  const auto tokenizer = load();
  const Ids e_acute = {3 + 0xC3, 3 + 0xA9};
  EXPECT_EQ(tokenizer->decode(e_acute), "é");
  EXPECT_EQ(tokenizer->decode({3 + 0xC3}), "\uFFFD");
  EXPECT_EQ(tokenizer->decode({3 + 0xC3, 3 + 0xA9, 3 + 0xC3, 261}), "é\uFFFD a");
  EXPECT_EQ(tokenizer->decode({3 + 0xED, 3 + 0xA0, 3 + 0x80}),
            "\uFFFD\uFFFD\uFFFD");  // a surrogate
}

TEST(Tokenizer, ACompletionDecodesToWhatItAddsToThePrompt) {
  const auto tokenizer = load();
  const auto completion = [&](const std::string& prompt, const std::string& whole) {
    const Ids before = tokenizer->encode(prompt, true), all = tokenizer->encode(whole, true);
    return tokenizer->decode_completion(
        before, Ids(all.begin() + static_cast<int64_t>(before.size()), all.end()));
  };
  EXPECT_EQ(completion("The fox", "The fox saw it.</s>"), " saw it.");
  EXPECT_EQ(completion("", "the fox"), "the fox");
  EXPECT_EQ(completion("The fox", "The fox, too"), ", too");
  // The prompt ends inside é: the character belongs to the completion.
  EXPECT_EQ(tokenizer->decode_completion({1, 261, 3 + 0xC3}, {3 + 0xA9, 261}), "é a");
  EXPECT_EQ(tokenizer->decode_completion({1, 261}, {}), "");
  // A model may have more rows than there are tokens.
  const int64_t behind = tokenizer->vocab_size();
  EXPECT_EQ(tokenizer->decode_completion({1, 261}, {behind, 261, behind + 60}), " a");
}

TEST(Tokenizer, ALimitGivesTheFirstTokensOfTheWhole) {
  const auto tokenizer = load();
  const std::string text = "The little fox</s> went  to the river, then\n\nhome. <s>The end";
  const Ids whole = tokenizer->encode(text, true);
  for (int64_t limit = 0; limit <= static_cast<int64_t>(whole.size()) + 1; ++limit) {
    const Ids expected(
        whole.begin(),
        whole.begin() + std::min<int64_t>(limit, static_cast<int64_t>(whole.size())));
    EXPECT_EQ(tokenizer->encode(text, true, limit), expected);
  }
}

TEST(Tokenizer, WordsEncodedOneByOneAreTheWholeEncodedAtOnce) {
  // Both get a piece of two spaces. A piece that spans two words forbids the split; it changes no
  // other id, because no text has it.
  const std::string spaces("\x0A\x0F\x0A\x06\xE2\x96\x81\xE2\x96\x81\x15\x00\x00\x80\x3F\x18\x01",
                           17);
  const std::string spanning("\x0A\x0D\x0A\x04Z\xE2\x96\x81\x15\x00\x00\x80\xC2\x18\x01", 15);
  const auto load_with = [](const std::string& pieces) {
    const TemporaryFolder folder;
    folder.write("tokenizer.model", read_file(kFiles / "tiny.model") + pieces);
    return Tokenizer::load(folder.path());
  };
  const auto by_word = load_with(spaces), at_once = load_with(spaces + spanning);
  ASSERT_EQ(at_once->vocab_size(), 354);
  EXPECT_EQ(at_once->encode("Z Z", false), (Ids{310, 353, 3 + 'Z'}));
  EXPECT_EQ(at_once->encode("a  b", false), (Ids{261, 352, 322}));
  std::vector<std::string> texts = {"a\u2581 b", "a \u2581b", "a \u2581 \u2581\u2581 b",
                                    "\u2581 a",  " \u2581a ", "a \xE2\x96 b"};
  for (const auto& entry : golden()["encode"]) texts.push_back(entry["text"].get<std::string>());
  for (const auto& text : texts)
    for (int repeat = 0; repeat < 2; ++repeat)  // the second time from memory
      EXPECT_EQ(by_word->encode(text, true), at_once->encode(text, true)) << text;
}

TEST(Tokenizer, SpecialTokensAreAsTheConfigSays) {
  const auto plain = load();
  EXPECT_EQ(plain->vocab_size(), 352);
  EXPECT_EQ(plain->bos(), 1);
  EXPECT_EQ(plain->eos(), 2);
  EXPECT_EQ(plain->unk(), 0);
  EXPECT_EQ(plain->eos_text(), "</s>");
  EXPECT_TRUE(plain->add_bos());
  EXPECT_EQ(plain->piece(263), "▁the");

  EXPECT_TRUE(load("")->add_bos());
  EXPECT_EQ(load("")->eos(), 2);
  EXPECT_FALSE(load(R"({"add_bos_token": false})")->add_bos());
  EXPECT_EQ(load(R"({"add_bos_token": false})")->bos(), 1);

  const auto bare = load(R"({"bos_token": null, "eos_token": null})");
  EXPECT_EQ(bare->bos(), std::nullopt);
  EXPECT_EQ(bare->eos(), std::nullopt);
  EXPECT_EQ(bare->eos_text(), "");
  EXPECT_FALSE(bare->add_bos());
  EXPECT_EQ(bare->encode("a", true), (Ids{261}));

  const auto other = load(R"({"eos_token": {"content": "."}, "pad_token": "[PAD]"})");
  EXPECT_EQ(other->eos(), 326);
  EXPECT_EQ(other->encode("a.", false), (Ids{261, 326}));
  EXPECT_EQ(other->vocab_size(), 352);  // [PAD] has no id
}

TEST(Tokenizer, PrefixSpacesAreAsTheConfigSays) {
  EXPECT_EQ(load()->encode("the</s>the", false), (Ids{263, 2, 313, 259}));  // ▁the </s> t he
  EXPECT_EQ(load(R"({"legacy": true})")->encode("the</s>the", false), (Ids{263, 2, 263}));
  EXPECT_EQ(load(R"({"add_prefix_space": false})")->encode("the</s>the", false),
            (Ids{313, 259, 2, 313, 259}));
}

TEST(Tokenizer, OlderFoldersSayTheirTokensInFilesOfTheirOwn) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", read_file(kFiles / "tiny.model"));
  folder.write("special_tokens_map.json", R"({"eos_token": {"content": "<end>"}})");
  folder.write("added_tokens.json", R"({"<end>": 352})");
  const auto old = Tokenizer::load(folder.path());
  EXPECT_EQ(old->eos(), 352);
  EXPECT_EQ(old->encode("a<end>", false), (Ids{261, 352}));
  // A config that lists the added tokens itself replaces both.
  folder.write("tokenizer_config.json", R"({"added_tokens_decoder": {}})");
  EXPECT_EQ(Tokenizer::load(folder.path())->eos(), 2);
}

TEST(Tokenizer, TheFingerprintTellsTokenizersApart) {
  const std::string plain = load()->fingerprint();
  EXPECT_EQ(plain.size(), 32u);
  EXPECT_EQ(load()->fingerprint(), plain);
  EXPECT_EQ(load("")->fingerprint(), plain);  // the defaults are the same
  EXPECT_NE(load(R"({"add_bos_token": false})")->fingerprint(), plain);
  EXPECT_NE(load(R"({"legacy": true})")->fingerprint(), plain);
  EXPECT_NE(load(R"({"eos_token": "."})")->fingerprint(), plain);
  EXPECT_NE(load(golden()["added_config"].dump())->fingerprint(), plain);
  EXPECT_NE(load("", "tiny-unigram.model")->fingerprint(), plain);
}

TEST(Tokenizer, ThreadsShareIt) {
  const auto tokenizer = load();
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 50; ++repeat)
        for (const auto& entry : golden()["encode"])
          wrong[t] += tokenizer->encode(entry["text"].get_ref<const std::string&>(), true) !=
                      entry["ids"].get<Ids>();
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, (std::vector<int>{0, 0, 0, 0}));
}

TEST(Tokenizer, AStretchThatIsTooLongIsRefused) {
  const auto tokenizer = load();
  EXPECT_EQ(error_of<DataError>([&] { tokenizer->encode(std::string((4 << 20) + 1, 'x'), false); }),
            "a stretch of 4194305 bytes that cannot be tokenized in parts, more than 4194304");
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreRefused) {
  const auto tokenizer = load();
  for (const int64_t id : {int64_t{-1}, int64_t{352}}) {
    const std::string error = error_of<DataError>([&] { tokenizer->decode({id}); });
    EXPECT_NE(error.find(cat("token id ", id, " is not in the vocabulary of ")), std::string::npos)
        << error;
    EXPECT_NE(error.find("tokenizer.model (352 tokens)"), std::string::npos) << error;
    EXPECT_EQ(error_of<DataError>([&] { tokenizer->piece(id); }), error);
  }
}

TEST(Tokenizer, FoldersItCannotUseAreRefusedWithASentence) {
  const std::string config = "tokenizer_config.json: ";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", config.substr(0, 21) + ":1:1: not valid JSON near '{'"},
      {"[]", config + "expected an object { … }"},
      {R"({"tokenizer_class": "GPT2Tokenizer"})",
       config + "tokenizers of the class \"GPT2Tokenizer\" are not supported; expected "
                "\"LlamaTokenizer\""},
      {R"({"eos_token": 2})",
       config + "\"eos_token\" must be a token's text, or an object with its \"content\""},
      {R"({"eos_token": ""})",
       config + "\"eos_token\" must be a token's text, or an object with its \"content\""},
      {R"({"eos_token": "<end>"})",
       "tokenizer.model: the EOS token \"<end>\" is not in the vocabulary"},
      {R"({"bos_token": "<begin>"})",
       "tokenizer.model: the BOS token \"<begin>\" is not in the vocabulary"},
      {R"({"add_bos_token": 1})", config + "\"add_bos_token\" must be true or false"},
      {R"({"additional_special_tokens": "x"})",
       config + "\"additional_special_tokens\" must be a list of tokens"},
      {R"({"added_tokens_decoder": []})", config + "\"added_tokens_decoder\" must be an object"},
      {R"({"added_tokens_decoder": {"x": {"content": "y"}}})",
       config + "\"added_tokens_decoder\" has the key \"x\", expected a token id"},
      {R"({"added_tokens_decoder": {"5": {"content": "<s>"}}})",
       "tokenizer.model: the token \"<s>\" has the id 5 by the config, but is piece 1"},
      {R"({"added_tokens_decoder": {"263": {"content": "new"}}})",
       "tokenizer.model: the added token \"new\" has the id 263, which is piece \"▁the\""},
      {R"({"added_tokens_decoder": {"352": {"content": "xx"}, "00352": {"content": "yy"}}})",
       "tokenizer.model: two added tokens have the id 352"},
  };
  for (const auto& [content, expected] : cases) {
    const TemporaryFolder folder;
    folder.write("tokenizer.model", read_file(kFiles / "tiny.model"));
    folder.write("tokenizer_config.json", content);
    EXPECT_EQ(folder.strip(error_of<DataError>([&] { Tokenizer::load(folder.path()); })), expected)
        << content;
  }

  const TemporaryFolder folder;
  EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { Tokenizer::load(folder.path()); })),
            "FOLDER holds no tokenizer.model");
  folder.write("tokenizer.json", "{}");
  EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { Tokenizer::load(folder.path()); })),
            "FOLDER holds no tokenizer.model; its tokenizer.json alone is not supported");
  folder.write("tokenizer.model", read_file(kFiles / "tiny.model"));
  folder.write("added_tokens.json", R"({"x": -5})");
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { Tokenizer::load(folder.path()); })),
            "added_tokens.json: \"x\" must have a token id");
}

TEST(Utf8, KnowsValidCharactersOnly) {
  for (const char* good :
       {"", "a", "é", "\u0800", "漢", "\uD7FF", "\uE000", "\U00010000", "\U0010FFFF"})
    EXPECT_TRUE(is_utf8(good)) << good;
  for (const char* bad :
       {"\x80", "\xC3", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3(", "\xE2\x82", "\xFF"})
    EXPECT_FALSE(is_utf8(bad));
}

}  // namespace
}  // namespace luce
