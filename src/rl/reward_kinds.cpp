#include "luce/rl/reward_kinds.h"

#include <memory>

#include "luce/base/error.h"

namespace luce {
namespace {

int64_t tokens(const RewardInput& input) {
  return static_cast<int64_t>(input.completion_ids.size());
}

void describe_column(Schema& s, std::string& column) {
  s.field("column", column, "column of the data file that holds what is compared with");
}

std::optional<double> judged(const RewardInput& input, const AnswerReward::Options& o) {
  const auto reference = column_text(input, o.column);
  return reference ? answer_reward(input.completion, *reference, o) : std::nullopt;
}

}  // namespace

std::optional<std::string> column_text(const RewardInput& input, const std::string& column) {
  const bool is_object = input.row != nullptr && input.row->is_object();
  if (!is_object || !input.row->contains(column))
    throw DataError(cat("the row has no column \"", column, "\""));
  const Json& value = input.row->at(column);
  if (value.is_null()) return {};
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  throw DataError(cat("the row's column \"", column, "\" is ",
                      shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace)),
                      ", expected a text or a number"));
}

void describe(Schema& s, AnswerReward::Options& o) {
  describe_column(s, o.column);
  describe(s, static_cast<AnswerOptions&>(o));
}
RewardInfo AnswerReward::info() {
  return {.name = "answer",
          .title = "1 where the final answer is right, else 0",
          .notes =
              "The final answer stands behind ####, in \\boxed{} or, with last_number, is the "
              "last number. No value where the column holds nothing to compare with."};
}
AnswerReward::AnswerReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) { return judged(input, o); }) {}

void describe(Schema& s, ExactReward::Options& o) {
  describe_column(s, o.column);
  s.field("fold_case", o.fold_case, "compare letters of ASCII without their case");
}
RewardInfo ExactReward::info() {
  return {.name = "exact",
          .title = "1 where the completion is the column's text, else 0",
          .notes = "White space around either is left out."};
}
ExactReward::ExactReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) -> std::optional<double> {
        const auto reference = column_text(input, o.column);
        if (!reference) return {};
        return exact_match(input.completion, *reference, o.fold_case);
      }) {}

void describe(Schema& s, NumberReward::Options& o) {
  describe_column(s, o.column);
  s.field("tolerance", o.tolerance,
          "largest distance of equal numbers as a share of max(1, |reference|); 0 compares exactly")
      .at_least(0)
      .below(1);
}
RewardInfo NumberReward::info() {
  return {.name = "number",
          .title = "1 where the completion is the column's number, else 0",
          .notes = "The whole completion must be a number. No value where the column is none."};
}
NumberReward::NumberReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) -> std::optional<double> {
        const auto reference = column_text(input, o.column);
        if (!reference) return {};
        return numeric_match(input.completion, *reference, o.tolerance);
      }) {}

RewardInfo FormatReward::info() {
  return {.name = "format", .title = "1 where the completion matches a pattern, else 0"};
}
FormatReward::FormatReward(const Options& o)
    : RewardLambda([format = std::make_shared<Format>(o)](const RewardInput& input) {
        return format->reward(input.completion);
      }) {}

RewardInfo LengthReward::info() {
  return {.name = "length",
          .title = "-slope |target - tokens|",
          .notes = "The length term of arXiv:2503.04697 eq. 1. The end of sequence is a token."};
}
LengthReward::LengthReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) { return length_reward(tokens(input), o); }) {}

RewardInfo OverlongReward::info() {
  return {.name = "overlong",
          .title = "The soft overlong punishment of DAPO",
          .notes =
              "arXiv:2503.14476 eq. 13: 0 up to max_length - cache tokens, -1 from max_length "
              "on, a line between."};
}
OverlongReward::OverlongReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) { return overlong_reward(tokens(input), o); }) {
  check_overlong(o);
}

void describe(Schema& s, CosineReward::Options& o) {
  describe(s, o.cosine);
  describe(s, o.answer);
}
RewardInfo CosineReward::info() {
  return {.name = "cosine",
          .title = "The cosine length reward, apart for right and wrong answers",
          .notes = "arXiv:2502.03373. Right is what reward \"answer\" calls right."};
}
CosineReward::CosineReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) -> std::optional<double> {
        const auto right = judged(input, o.answer);
        if (!right) return {};
        return cosine_reward(*right == 1, tokens(input), o.cosine);
      }) {}

void describe(Schema& s, RepetitionReward::Options& o) {
  s.field("n", o.repetition.n, "length of the n-grams").at_least(1).at_most(64);
  s.field("unit", o.unit, "what n-grams are made of").one_of({"tokens", "words"});
}
RewardInfo RepetitionReward::info() {
  return {.name = "repetition",
          .title = "-1 times the share of n-grams that stood there before",
          .notes = "0 where there are fewer than n tokens or words."};
}
RepetitionReward::RepetitionReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) {
        return o.unit == "words" ? repetition_reward(input.completion, o.repetition)
                                 : repetition_reward(input.completion_ids, o.repetition);
      }) {}

RewardInfo JsonReward::info() {
  return {.name = "json", .title = "1 where the completion is JSON with the required keys, else 0"};
}
JsonReward::JsonReward(const Options& o)
    : RewardLambda([o](const RewardInput& input) { return json_reward(input.completion, o); }) {}

}  // namespace luce
