// Broken files by the thousand, from a fixed seed: each is accepted or refused by a DataError.
#include <gtest/gtest.h>

#include <cstring>

#include "data/temporary_folder.h"
#include "luce/base/error.h"
#include "luce/base/random.h"
#include "luce/data/safetensors.h"
#include "luce/data/weights.h"

namespace luce {
namespace {

/// Random choices, one after another.
class Dice {
 public:
  explicit Dice(uint64_t sample) : sample_(sample) {}
  uint64_t below(uint64_t n) { return random_.bits(0, sample_, position_++) % n; }
  std::string pick(const std::vector<std::string>& choices) {
    return choices[below(choices.size())];
  }

 private:
  Random random_{7, Purpose::test};
  uint64_t sample_;
  uint32_t position_ = 0;
};

const std::vector<std::string> kFragments = {"0",
                                             "1",
                                             "-1",
                                             "8",
                                             "1e9",
                                             "1.5",
                                             "4294967296",
                                             "9223372036854775807",
                                             "18446744073709551615",
                                             "null",
                                             "true",
                                             "[",
                                             "]",
                                             "{",
                                             "}",
                                             "\"",
                                             ",",
                                             ":",
                                             "[]",
                                             "{}",
                                             "\"F32\"",
                                             "\"F8_E5M2\"",
                                             "\"BOOL\"",
                                             "\"shape\":[0]",
                                             "\"data_offsets\":[0,0]",
                                             "\"__metadata__\":{}",
                                             "\\ud800",
                                             "\\u0000",
                                             std::string(1, '\0'),
                                             "\xff",
                                             "\xc3\xa9"};

std::string mutate(std::string content, Dice& dice) {
  uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  const auto replace = [&](size_t from, size_t to, const std::string& with) {
    content.replace(from, to - from, with);
    length += with.size() - (to - from);
    std::memcpy(content.data(), &length, sizeof length);
  };
  for (uint64_t i = 0, n = 1 + dice.below(3); i < n && content.size() > 9 && length > 1; ++i) {
    const size_t a = 8 + dice.below(length), b = std::min<size_t>(8 + length, a + dice.below(20));
    switch (dice.below(6)) {
      case 0:
        content[dice.below(content.size())] ^= static_cast<char>(1 << dice.below(8));
        return content;  // the length may be wrong now
      case 1:
        content.resize(dice.below(content.size()));
        return content;
      case 2:
        content += std::string(1 + dice.below(9), 'x');
        break;
      case 3:
        replace(a, b, dice.pick(kFragments));
        break;
      case 4:
        replace(a, a, content.substr(b, dice.below(40)));
        break;
      default: {  // one number becomes another
        const size_t digit = content.find_first_of("0123456789", a);
        if (digit < 8 + length) replace(digit, digit + 1, dice.pick(kFragments));
      }
    }
  }
  return content;
}

std::string valid_file(const TemporaryFolder& folder) {
  const std::string data(64, 'd');
  write_safetensors(folder / "valid", {{"model.embed.weight", DType::f32, {2, 3}, data.data()},
                                       {"b", DType::bf16, {4}, data.data()},
                                       {"empty", DType::f32, {0, 2}, nullptr},
                                       {"scalar", DType::i64, {}, data.data()},
                                       {"mask", DType::boolean, {3}, data.data()}});
  return read_file(folder / "valid");
}

TEST(SafetensorsFuzz, TwentyThousandMutationsAreAcceptedWholeOrRefused) {
  const TemporaryFolder folder;
  const std::string valid = valid_file(folder);
  const MemoryFile mutant;
  int accepted = 0, refused = 0;
  for (uint64_t i = 0; i < 20'000; ++i) {
    Dice dice(i);
    const std::string content = mutate(valid, dice);
    mutant.set(content);
    try {
      const SafetensorsFile file(mutant.path());
      uint64_t end = 0;
      for (const auto& t : file.tensors()) {
        EXPECT_EQ(t.begin, end);
        EXPECT_LE(t.end, content.size());
        end = t.end;
        std::string bytes(t.end - t.begin, '\0');
        file.read(t, bytes.data());
        EXPECT_TRUE(bytes == content.substr(content.size() - (file.tensors().back().end - t.begin),
                                            bytes.size()));
        EXPECT_EQ(file.find(t.name), &t);
      }
      ++accepted;
    } catch (const DataError& failure) {
      EXPECT_NE(std::string(failure.what()).find(mutant.path() + ": "), std::string::npos);
      ++refused;
    }
  }
  // Both sides are met often, so that the test sees both.
  EXPECT_GT(accepted, 200);
  EXPECT_GT(refused, 10'000);
}

TEST(SafetensorsFuzz, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const std::string valid = valid_file(folder);
  const MemoryFile cut;
  for (size_t size = valid.size(); size-- > 0;) {
    cut.set(valid.substr(0, size));
    EXPECT_THROW(SafetensorsFile file(cut.path()), DataError) << size;
  }
}

TEST(SafetensorsFuzz, MutationsOfAnIndexAreAcceptedOrRefused) {
  const TemporaryFolder folder;
  const std::string data(64, 'd');
  write_weights(folder.path(),
                {{"a", DType::f32, {2}, data.data()}, {"b", DType::f32, {2}, data.data()}}, 8);
  const auto path = folder / "model.safetensors.index.json";
  const std::string valid = read_file(path);
  const MemoryFile mutant;
  std::filesystem::remove(path);
  std::filesystem::create_symlink(mutant.path(), path);
  int accepted = 0;
  for (uint64_t i = 0; i < 5'000; ++i) {
    Dice dice(i);
    std::string content = valid;
    for (uint64_t n = 1 + dice.below(2); n > 0; --n) {
      const size_t a = dice.below(content.size());
      if (dice.below(2) == 0)
        content[a] ^= static_cast<char>(1 << dice.below(8));
      else
        content.replace(a, dice.below(12), dice.pick(kFragments));
    }
    mutant.set(content);
    try {
      const Weights weights = Weights::open(folder.path());
      EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b"}));
      ++accepted;
    } catch (const DataError&) {
    } catch (const MissingFileError&) {  // the name of a shard that is not there
    }
  }
  EXPECT_GT(accepted, 200);
}

}  // namespace
}  // namespace luce
