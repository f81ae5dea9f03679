#include "luce/data/prompts.h"

#include <gtest/gtest.h>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {

std::shared_ptr<const Tokenizer> tiny_tokenizer() {
  return Tokenizer::load(std::filesystem::path(LUCE_SOURCE_DIR) / "tests/golden/tiny");
}

TEST(Prompts, KeepTheWholeRowBesideTheirTokens) {
  TemporaryFolder folder;
  const auto file = folder.write("a.jsonl",
                                 "{\"prompt\": \"the cat\", \"answer\": \"4\"}\n"
                                 "{\"prompt\": \"a dog sat\"}\n");
  const auto tokenizer = tiny_tokenizer();
  const PromptSet set = load_prompts(file, tokenizer.get(), {});
  ASSERT_EQ(set.prompts.size(), 2U);
  EXPECT_EQ(set.prompts[0].ids, tokenizer->encode("the cat", tokenizer->add_bos()));
  EXPECT_EQ(set.prompts[0].text, "the cat");
  EXPECT_EQ(set.prompts[0].columns["answer"], "4");
  EXPECT_EQ(set.prompts[0].row, 1);
  EXPECT_EQ(set.prompts[1].row, 2);
  EXPECT_EQ(describe(set.report), file.string() + ": 2 prompts, 2 kept");
}

TEST(Prompts, AreTokenIdsWhereRowsSaySo) {
  TemporaryFolder folder;
  const auto file = folder.write("a.jsonl", "{\"input_ids\": [1, 5, 7]}\n");
  const PromptSet set = load_prompts(file, nullptr, {});
  EXPECT_EQ(set.prompts.at(0).ids, (std::vector<int64_t>{1, 5, 7}));
  EXPECT_EQ(set.prompts.at(0).text, "");
}

TEST(Prompts, TakeOtherNamesOfColumns) {
  TemporaryFolder folder;
  const auto file = folder.write("a.jsonl", "{\"question\": \"the cat\", \"prompt\": 3}\n");
  const auto tokenizer = tiny_tokenizer();
  const PromptSet set =
      load_prompts(file, tokenizer.get(), {.column_map = {{"prompt", "question"}}});
  EXPECT_EQ(set.prompts.at(0).text, "the cat");
  EXPECT_EQ(error_of<UsageError>([&] {
              load_prompts(file, tokenizer.get(), {.column_map = {{"answer", "a"}}});
            }),
            "data.column_map: \"answer\" is no column that prompts have; map \"prompt\" or "
            "\"input_ids\" to the file's name. Rewards read other columns by the file's names");
}

TEST(Prompts, ThatAreTooLongAreDroppedAndCounted) {
  TemporaryFolder folder;
  const auto file =
      folder.write("a.jsonl", "{\"input_ids\": [1, 5, 7]}\n{\"input_ids\": [1, 5]}\n");
  const PromptSet set = load_prompts(file, nullptr, {.max_length = 2});
  ASSERT_EQ(set.prompts.size(), 1U);
  EXPECT_EQ(set.prompts[0].row, 2);
  EXPECT_EQ(describe(set.report), file.string() + ": 2 prompts, 1 kept, 1 too long");
  EXPECT_EQ(error_of<DataError>([&] { load_prompts(file, nullptr, {.max_length = 1}); }),
            file.string() + ": none of its 2 prompts is left: 2 have more than 1 tokens");
}

TEST(Prompts, ThatAreBadStopTheRunWhereThereAreMany) {
  TemporaryFolder folder;
  const auto file = folder.write("a.jsonl", "{\"text\": \"x\"}\n{\"input_ids\": []}\n");
  EXPECT_EQ(error_of<DataError>([&] { load_prompts(file, nullptr, {}); }),
            file.string() + ": 2 of 2 rows are bad; more than 1 % stops:\n  " + file.string() +
                ":1: the row has neither \"prompt\" nor \"input_ids\"\n  " + file.string() +
                ":2: the prompt is empty");
  EXPECT_EQ(error_of<DataError>([&] { load_prompts(file, nullptr, {.strict = true}); }),
            file.string() +
                ":1: the row has neither \"prompt\" nor \"input_ids\"; data.strict stops at the "
                "first bad row");
}

TEST(Prompts, OfTextNeedATokenizerAndAFileWithRows) {
  TemporaryFolder folder;
  const auto file = folder.write("a.jsonl", "{\"prompt\": \"the cat\"}\n");
  EXPECT_EQ(error_of<UsageError>([&] { load_prompts(file, nullptr, {}); }),
            file.string() + ": prompts that are texts need a tokenizer, and there is none");
  const auto empty = folder.write("b.jsonl", "\n");
  EXPECT_EQ(error_of<DataError>([&] { load_prompts(empty, nullptr, {}); }),
            empty.string() + " holds no rows");
}

}  // namespace
}  // namespace luce
