#include "luce/batch.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

std::vector<int64_t> list(const Tensor& t) {
  return {t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel()};
}

using Ids = std::vector<int64_t>;

const Example kPair{.prompt = {1, 2, 3}, .completions = {{4, 5, 6}, {7}}, .row = 9};
const Example kText{.prompt = {1}, .completions = {{8, 9}}, .row = 10};

TEST(Batch, LaysAPairOutAsOnePromptWithTwoCompletions) {
  const Batch b = make_batch({&kPair, &kText});
  // A completion's last token is a target only, so {7} takes no row at all.
  EXPECT_EQ(list(b.tokens), (Ids{1, 2, 3, 4, 5, 1, 8}));
  EXPECT_EQ(list(b.positions), (Ids{0, 1, 2, 3, 4, 0, 1}));
  EXPECT_EQ(list(b.targets), (Ids{4, 5, 6, 7, 8, 9}));
  // The prompt's last row predicts the first token of both answers.
  EXPECT_EQ(list(b.head_rows), (Ids{2, 3, 4, 2, 5, 6}));
  EXPECT_EQ(b.offset, (Ids{0, 3, 4, 6}));
  EXPECT_EQ(b.group, (Ids{0, 2, 3}));
  EXPECT_EQ(b.units(), (Ids{0, 4, 6}));
  EXPECT_EQ(b.row, (Ids{9, 10}));
  EXPECT_EQ(b.role, (std::vector<Role>{Role::chosen, Role::rejected, Role::chosen}));
  EXPECT_EQ(b.num_tokens, 3 + 3 + 3 + 1 + 1 + 2);
}

TEST(Batch, GivesEveryCompletionAPromptOfItsOwnWithoutSharing) {
  const Batch b = make_batch({&kPair}, {.prefix_sharing = false});
  EXPECT_EQ(list(b.tokens), (Ids{1, 2, 3, 4, 5, 1, 2, 3}));
  EXPECT_EQ(list(b.head_rows), (Ids{2, 3, 4, 7}));
  EXPECT_EQ(b.segments().size(), 3u);  // two prompts, one completion with rows
}

TEST(Batch, CountsItsRowsBeforeItIsMade) {
  for (const bool sharing : {true, false}) {
    const BatchOptions o{.prefix_sharing = sharing};
    EXPECT_EQ(rows_of(kPair, o), make_batch({&kPair}, o).tokens.numel());
  }
}

TEST(Batch, ScoresNothingOfAnEmptyCompletion) {
  const Example e{.prompt = {1, 2}, .completions = {{}, {3}}, .row = 1};
  const Batch b = make_batch({&e});
  EXPECT_EQ(b.offset, (Ids{0, 0, 1}));
  EXPECT_EQ(list(b.targets), (Ids{3}));
}

TEST(Batch, RefusesAnExampleWithoutAPrompt) {
  const Example e{.prompt = {}, .completions = {{3}}, .row = 4};
  EXPECT_EQ(test::message_of<ArgumentError>([&] { make_batch({&e}); }),
            "[make_batch] row 4 needs at least one prompt token and one completion");
}

}  // namespace
}  // namespace luce
