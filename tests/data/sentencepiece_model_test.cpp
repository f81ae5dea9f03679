#include "luce/data/sentencepiece_model.h"

#include <gtest/gtest.h>

#include <fstream>

#include "data/temporary_folder.h"
#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/random.h"
#include "luce/data/tokenizer.h"

namespace luce {
namespace {

using Piece = SentencePieceModel::Piece;

const std::filesystem::path kFiles = std::filesystem::path(LUCE_SOURCE_DIR) / "tests/data/files";

std::string number(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string integer(uint64_t field, uint64_t value) { return number(field << 3) + number(value); }
std::string bytes(uint64_t field, const std::string& value) {
  return number(field << 3 | 2) + number(value.size()) + value;
}
std::string score(uint32_t bits) {
  std::string out = number(2 << 3 | 5);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> (8 * i));
  return out;
}
std::string piece(const std::string& text, int type = 1) {
  return bytes(1, bytes(1, text) + score(0xBF800000) + integer(3, static_cast<uint64_t>(type)));
}
const std::string kBase =
    piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("a") + piece("b");

std::string little(std::initializer_list<uint32_t> words) {
  std::string out;
  for (const uint32_t word : words)
    for (int i = 0; i < 4; ++i) out += static_cast<char>(word >> (8 * i));
  return out;
}

/// Normalization rules with one trie of 512 units, of which some are set.
std::string rules(const std::vector<std::pair<size_t, uint32_t>>& units,
                  const std::string& strings) {
  std::vector<uint32_t> trie(512, 0x80000000u);  // units that no byte leads to
  trie[0] = 1 << 10;                             // the root's children lie at 1 ^ label
  for (const auto& [at, unit] : units) trie[at] = unit;
  std::string out = little({2048});
  for (const uint32_t unit : trie) out += little({unit});
  return out + strings;
}

std::string error_for(const std::string& content) {
  return error_of<DataError>([&] { parse_sentencepiece_model(content, "m"); });
}

TEST(SentencePieceModel, ReadsEverythingThatMatters) {
  const auto model = parse_sentencepiece_model(
      kBase +
          bytes(2, integer(3, 2) + integer(24, 1) + bytes(46, "<b>") + bytes(47, "<e>") +
                       integer(4, 99)) +
          bytes(3, bytes(1, "identity") + integer(3, 0) + integer(4, 0) + integer(5, 0)) +
          bytes(4, "ignored") + bytes(250, "an extension"),
      "m");
  ASSERT_EQ(model.pieces.size(), 5u);
  EXPECT_EQ(model.pieces[1].text, "<s>");
  EXPECT_EQ(model.pieces[1].type, PieceType::control);
  EXPECT_EQ(model.pieces[4].score, -1.0f);
  EXPECT_EQ(model.type, PieceModelType::bpe);
  EXPECT_TRUE(model.treat_whitespace_as_suffix);
  EXPECT_EQ(model.bos_piece, "<b>");
  EXPECT_EQ(model.eos_piece, "<e>");
  EXPECT_FALSE(model.add_dummy_prefix || model.remove_extra_whitespaces ||
               model.escape_whitespaces);
}

TEST(SentencePieceModel, WhatItWritesForTheLibraryReadsAsTheSame) {
  for (const char* name : {"tiny.model", "tiny-unigram.model"}) {
    const auto model = parse_sentencepiece_model(read_file(kFiles / name), name);
    const auto again = parse_sentencepiece_model(library_model(model, false), name);
    ASSERT_EQ(again.pieces.size(), model.pieces.size());
    for (size_t i = 0; i < model.pieces.size(); ++i) {
      EXPECT_EQ(again.pieces[i].text, model.pieces[i].text);
      EXPECT_EQ(again.pieces[i].score, model.pieces[i].score);
      const bool hidden = model.pieces[i].type == PieceType::user_defined;
      EXPECT_EQ(again.pieces[i].type, hidden ? PieceType::control : model.pieces[i].type);
    }
    EXPECT_EQ(again.type, model.type);
    EXPECT_EQ(again.charsmap, model.charsmap);
    EXPECT_EQ(again.byte_fallback, model.byte_fallback);
    EXPECT_EQ(again.remove_extra_whitespaces, model.remove_extra_whitespaces);
    EXPECT_FALSE(again.add_dummy_prefix);
    EXPECT_TRUE(model.add_dummy_prefix);
  }
}

TEST(SentencePieceModel, EveryBrokenRuleHasItsSentence) {
  const std::string open = "m: not a SentencePiece model: ";
  const std::string trie = open + "its normalization rules are broken: ";
  const auto with_rules = [](const std::string& charsmap) {
    return kBase + bytes(3, bytes(2, charsmap));
  };
  const auto unit = [](uint32_t offset, char label, bool rule) {
    return offset << 10 | static_cast<uint32_t>(rule) << 8 | static_cast<uint32_t>(label);
  };
  std::string all_bytes;
  for (int i = 0; i < 255; ++i) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", i);
    all_bytes += piece(text, 6);
  }
  // A text of 33 times "x" meets a rule at each step: base 1, then 1 ^ 'x' ^ offset, …
  std::string long_trie;
  {
    std::vector<uint32_t> units(8448 + 256, 0x80000000u);
    units[0] = 1 << 10;
    uint32_t base = 1;
    for (uint32_t i = 1; i <= 33; ++i) {
      const uint32_t at = base ^ 'x', child = i * 256;
      units[at] = (at ^ child) << 10 | 1 << 8 | 'x';
      units[child] = 0x80000000u;
      base = child;
    }
    long_trie = little({static_cast<uint32_t>(units.size() * 4)});
    for (const uint32_t word : units) long_trie += little({word});
    long_trie += std::string("y\0", 2);
  }
  const uint32_t root_x = 1 ^ 'x';
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", open + "it holds no pieces"},
      {"\x0A", open + "a number is cut off, at byte 0"},
      {"\x0A\x05"
       "ab",
       open + "a field reaches beyond the end, at byte 0"},
      {kBase + "\x09"
               "1234",
       open + "a field reaches beyond the end, at byte 69"},
      {std::string("\0", 1), open + "a field without a valid number, at byte 0"},
      {"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
       open + "a number of more than 64 bits, at byte 0"},
      {"\x0B", open + "a field of an unknown wire type, at byte 0"},
      {integer(1, 5), open + "field 1 has another type than it should, at byte 0"},
      {bytes(1, integer(2, 5)), open + "field 2 has another type than it should, at byte 2"},
      {kBase + piece(""), open + "piece 5 is empty, at byte 78"},
      {kBase + piece("\xC3"), open + "piece 5 is not valid UTF-8, at byte 79"},
      {kBase + piece(std::string(4097, 'x')),
       open + "piece 5 has 4097 bytes, more than 4096, at byte 72"},
      {kBase + bytes(1, bytes(1, "c") + score(0x7FC00000)),
       open + "the score of piece 5 is not finite, at byte 74"},
      {kBase + bytes(1, bytes(1, "c") + score(0x7F800000)),
       open + "the score of piece 5 is not finite, at byte 74"},
      {kBase + piece("c", 7), open + "piece 5 has the unknown type 7, at byte 79"},
      {kBase + piece("a"), open + "piece 5 (\"a\") stands twice"},
      {kBase + piece("</s>", 3), open + "piece 5 (\"</s>\") stands twice"},
      {kBase + piece("<u>", 2), open + "it has 2 unknown pieces, expected exactly one"},
      {piece("a"), open + "it has 0 unknown pieces, expected exactly one"},
      {piece("<unk>", 2), open + "it has no normal piece"},
      {kBase + piece("<0x0A>", 6), open + "piece 5 is a byte, but the model has no byte fallback"},
      {kBase + piece("0A", 6) + bytes(2, integer(35, 1)),
       open + "piece 5 (\"0A\") is of type byte, expected a text like <0x0A>"},
      {kBase + all_bytes + bytes(2, integer(35, 1)),
       open + "1 of the 256 byte pieces are missing, but it says that it has byte fallback"},
      {kBase + bytes(2, integer(3, 5)), open + "unknown model type 5, at byte 71"},
      {kBase + bytes(5, bytes(2, "x")), "m: rules that change decoded text are not supported"},
      {with_rules("abc"), trie + "they are cut off"},
      {with_rules(little({8, 0, 0})), trie + "a trie of 8 bytes does not fit 12 bytes"},
      {with_rules(little({3, 0, 0})), trie + "a trie of 3 bytes does not fit 12 bytes"},
      {with_rules(little({0xFFFFFFFC, 0, 0})),
       trie + "a trie of 4294967292 bytes does not fit 12 bytes"},
      {with_rules(little({4, 0}) + std::string("\0", 1)), trie + "unit 0 lies outside the trie"},
      {with_rules(rules({}, "x")), trie + "the last string does not end"},
      {with_rules(rules({{0, 0x3FFFFF << 10}}, std::string("\0", 1))),
       trie + "unit 4194303 lies outside the trie"},
      {with_rules(rules({{root_x, unit(512, 'x', false)}}, std::string("\0", 1))),
       trie + "unit " + std::to_string(512 ^ root_x) + " lies outside the trie"},
      {with_rules(rules({{root_x, unit(root_x ^ 1, 'x', false)}}, std::string("\0", 1))),
       trie + "the trie runs in a circle"},
      {with_rules(rules({{root_x, unit(root_x ^ 256, 'x', true)}, {256, 0x80000007u}},
                        std::string("y\0", 2))),
       trie + "string 7 lies outside"},
      {with_rules(rules({{root_x, unit(root_x ^ 256, 'x', true)}, {256, 0x80000000u}},
                        std::string(65, 'y') + '\0')),
       trie + "a rule produces more than 64 bytes"},
      {with_rules(long_trie), trie + "more than 32 rules apply at one place"},
      {kBase + bytes(3, bytes(2, little({(1 << 22) + 4}) + std::string((1 << 22) + 5, '\0'))),
       trie + "a trie of more than 1048576 units"},
  };
  for (const auto& [content, expected] : cases) EXPECT_EQ(error_for(content), expected);
}

TEST(SentencePieceModel, AFileBeyondTheLimitIsRefusedBeforeItIsRead) {
  const TemporaryFolder folder;
  std::ofstream(folder / "tokenizer.model");
  std::filesystem::resize_file(folder / "tokenizer.model",
                               SentencePieceLimits::kFile + 1);  // sparse
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { Tokenizer::load(folder.path()); })),
            "tokenizer.model holds 67108865 bytes; at most 67108864 are accepted for a file of "
            "this kind");
}

TEST(SentencePieceModel, RulesThatAreSoundAreAccepted) {
  const uint32_t at = 1 ^ 'x';
  const std::string charsmap =
      rules({{at, (at ^ 256) << 10 | 1 << 8 | 'x'}, {256, 0x80000000u}}, std::string("ab\0", 3));
  const TemporaryFolder folder;
  folder.write("tokenizer.model", kBase + bytes(3, bytes(2, charsmap)));
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer->encode("xa", false), (std::vector<int64_t>{0, 3, 4, 3}));  // ▁ a b a
}

TEST(SentencePieceModel, PiecesWithNulAreAccepted) {
  for (const uint64_t type : {1, 2, 3, 4}) {
    const TemporaryFolder folder;
    folder.write("tokenizer.model",
                 kBase + piece(std::string("\0", 1)) + piece(std::string("a\0c", 3)) +
                     piece(std::string("\0d", 2), 4) + bytes(2, integer(3, type)));
    const auto tokenizer = Tokenizer::load(folder.path());
    EXPECT_EQ(tokenizer->vocab_size(), 8);
    EXPECT_EQ(tokenizer->piece(6), std::string("a\0c", 3));
    EXPECT_EQ(tokenizer->decode({3, 5, 4}), std::string("a\0b", 3));
    const auto ids = tokenizer->encode(std::string("ab\0a\0cb", 7), false);
    for (const int64_t id : ids) EXPECT_LT(id, 8);
    EXPECT_EQ(tokenizer->encode(std::string("\0d", 2), false), (std::vector<int64_t>{7}));
  }
}

/// Broken models by the thousand, from a fixed seed: each is refused by a DataError, or it works.
void mutate_and_use(const std::string& name, uint64_t samples) {
  const std::string good = read_file(kFiles / name);
  const TemporaryFolder folder;
  const MemoryFile file;
  std::filesystem::create_symlink(file.path(), folder / "tokenizer.model");
  const Random random(11, Purpose::test);
  int accepted = 0, refused = 0;
  for (uint64_t sample = 0; sample < samples; ++sample) {
    uint32_t position = 0;
    const auto below = [&](uint64_t n) { return random.bits(0, sample, position++) % n; };
    std::string bad = good;
    for (uint64_t edits = 1 + below(4); edits > 0 && bad.size() > 1; --edits) {
      const size_t at = below(bad.size());
      switch (below(6)) {
        case 0:
          bad[at] = static_cast<char>(below(256));
          break;
        case 1:
          bad[at] = static_cast<char>(bad[at] ^ (1 << below(8)));
          break;
        case 2:
          bad.erase(at, 1 + below(8));
          break;
        case 3:
          bad.insert(at, bad.substr(below(bad.size()), below(24)));
          break;
        case 4:
          bad.resize(at + 1);
          break;
        default:  // inside the last 1200 bytes, where the options and the rules are
          bad[bad.size() - 1 - below(std::min<size_t>(bad.size(), 1200))] =
              static_cast<char>(below(256));
      }
    }
    file.set(bad);
    try {
      const auto tokenizer = Tokenizer::load(folder.path());
      std::string all_bytes;
      for (int i = 1; i < 256; ++i) all_bytes += static_cast<char>(i);
      for (const std::string& text :
           {std::string("The fox  said</s> so…\n \xEF\xAC\x81 [ab] A\xCC\x8A caf\xC3\xA9"),
            all_bytes}) {
        const auto ids = tokenizer->encode(text, true);
        for (const int64_t id : ids) ASSERT_LT(id, tokenizer->vocab_size());
        tokenizer->decode(ids);
        tokenizer->decode(ids, false);
      }
      ++accepted;
    } catch (const DataError& failure) {
      EXPECT_NE(std::string(failure.what()).find("tokenizer.model"), std::string::npos)
          << failure.what();
      ++refused;
    }
  }
  // Both happen, so the corpus tests both.
  EXPECT_GT(accepted, static_cast<int>(samples / 20));
  EXPECT_GT(refused, static_cast<int>(samples / 20));
}

TEST(SentencePieceModel, MutatedBpeModelsAreRefusedOrWork) { mutate_and_use("tiny.model", 10000); }
TEST(SentencePieceModel, MutatedUnigramModelsAreRefusedOrWork) {
  mutate_and_use("tiny-unigram.model", 10000);
}

}  // namespace
}  // namespace luce
