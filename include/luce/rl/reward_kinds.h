// Reward functions that follow from a completion's text or length by a rule (data/verifiers.h).
// What the rule cannot judge has no value; a row without the column that it is compared with is a
// failure, one that holds null there has no value.
#pragma once

#include <optional>
#include <string>

#include "luce/base/schema.h"
#include "luce/data/verifiers.h"
#include "luce/rl/reward_function.h"
#include "luce/rl/reward_registry.h"

namespace luce {

/// The text or number in a column of a row, as text; nothing where it is null. Throws DataError
/// where there is no such column or it holds something else.
std::optional<std::string> column_text(const RewardInput& input, const std::string& column);

/// answer: 1 where the completion's final answer is that of the column.
class AnswerReward : public RewardLambda {
 public:
  struct Options : AnswerOptions {
    std::string column = "answer";
  };
  static RewardInfo info();
  explicit AnswerReward(const Options& options);
};

/// exact: 1 where the completion is the column's text.
class ExactReward : public RewardLambda {
 public:
  struct Options {
    std::string column = "answer";
    bool fold_case = false;
  };
  static RewardInfo info();
  explicit ExactReward(const Options& options);
};

/// number: 1 where the completion is the column's number.
class NumberReward : public RewardLambda {
 public:
  struct Options {
    std::string column = "answer";
    double tolerance = 0;
  };
  static RewardInfo info();
  explicit NumberReward(const Options& options);
};

/// format: 1 where the completion matches a pattern.
class FormatReward : public RewardLambda {
 public:
  using Options = FormatOptions;
  static RewardInfo info();
  explicit FormatReward(const Options& options);
};

/// length: −slope · |target − tokens|.
class LengthReward : public RewardLambda {
 public:
  using Options = LengthOptions;
  static RewardInfo info();
  explicit LengthReward(const Options& options);
};

/// overlong: the soft overlong punishment of the number of tokens.
class OverlongReward : public RewardLambda {
 public:
  using Options = OverlongOptions;
  static RewardInfo info();
  explicit OverlongReward(const Options& options);
};

/// cosine: a reward of length, apart for right and wrong answers.
class CosineReward : public RewardLambda {
 public:
  struct Options {
    CosineOptions cosine;
    AnswerReward::Options answer;
  };
  static RewardInfo info();
  explicit CosineReward(const Options& options);
};

/// repetition: −1 · the share of n-grams that stood there before; its weight is the reward's.
class RepetitionReward : public RewardLambda {
 public:
  struct Options {
    RepetitionOptions repetition;  // whose weight stays 1
    std::string unit = "tokens";
  };
  static RewardInfo info();
  explicit RepetitionReward(const Options& options);
};

/// json: 1 where the completion is JSON with the required keys.
class JsonReward : public RewardLambda {
 public:
  using Options = JsonFormatOptions;
  static RewardInfo info();
  explicit JsonReward(const Options& options);
};

void describe(Schema& s, AnswerReward::Options& o);
void describe(Schema& s, ExactReward::Options& o);
void describe(Schema& s, NumberReward::Options& o);
void describe(Schema& s, CosineReward::Options& o);
void describe(Schema& s, RepetitionReward::Options& o);

}  // namespace luce
