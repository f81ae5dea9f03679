#include "luce/data/verifiers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <set>

#include "data/temporary_folder.h"
#include "luce/data/final_answer.h"
#include "luce/data/jsonl.h"

namespace luce {
namespace {

constexpr std::optional<double> kNone;

template <class T>
T load(const std::string& text) {
  return parse_options<T>(Document(text, "c.json"));
}
template <class T>
std::string refusal(const std::string& text) {
  return error_of<UsageError>([&] { load<T>(text); });
}

TEST(FinalAnswer, StandsAfterTheLastMarker) {
  EXPECT_EQ(final_answer("a\n#### 18"), "18");
  EXPECT_EQ(final_answer("#### 1\n\\boxed{3}\n####  1,234 \nmore 7"), "1,234");
  EXPECT_EQ(final_answer("####\n 18 \n"), "18");
  EXPECT_EQ(final_answer("#### The answer is $\\boxed{18}$."), "18");
  EXPECT_EQ(final_answer("\\boxed{3}\n####  \n"), "3");
}

TEST(FinalAnswer, StandsInTheLastBoxWhoseBracesBalance) {
  EXPECT_EQ(final_answer("\\boxed{1} and \\boxed{ \\frac{1}{2} }."), "\\frac{1}{2}");
  EXPECT_EQ(final_answer("\\boxed{1} and \\boxed{2"), "1");
  EXPECT_EQ(final_answer("{ \\boxed{1}"), "1");
  EXPECT_EQ(final_answer("}} \\boxed{\\{1\\}\\}}"), "\\{1\\}\\}");
  EXPECT_EQ(final_answer("\\boxed{\\boxed{5}}"), "5");
  EXPECT_EQ(final_answer("\\boxed{\\text{a}{b}}"), "\\text{a}{b}");
  EXPECT_FALSE(final_answer("\\boxed{} 5").has_value());
  EXPECT_FALSE(final_answer("\\boxed5").has_value());
}

TEST(FinalAnswer, MayBeTheLastNumber) {
  EXPECT_FALSE(final_answer("it is 18.").has_value());
  EXPECT_EQ(final_answer("it is 18.", true), "18");
  EXPECT_EQ(final_answer("\\boxed{3} or 18", true), "3");
  EXPECT_FALSE(final_answer("", true).has_value());
  EXPECT_FALSE(final_answer("none", true).has_value());
}

// Each of these would take hours if boxes or numbers were looked for from every place anew.
TEST(FinalAnswer, IsFoundInOnePass) {
  std::string boxes, braces(2'000'000, '{'), digits(2'000'000, '7');
  for (int i = 0; i < 300'000; ++i) boxes += "\\boxed{";
  EXPECT_FALSE(final_answer(boxes, true).has_value());
  EXPECT_FALSE(final_answer(braces, true).has_value());
  EXPECT_FALSE(final_answer(digits, true).has_value());
}

TEST(Verifiers, ExactMatchTrimsAndMayFold) {
  EXPECT_EQ(exact_match(" Paris\n", "Paris"), 1);
  EXPECT_EQ(exact_match("paris", "Paris"), 0);
  EXPECT_EQ(exact_match("paRIS", "Paris", true), 1);
  EXPECT_EQ(exact_match("É", "é", true), 0);  // ASCII only
  EXPECT_EQ(exact_match("Pari", "Paris", true), 0);
  EXPECT_EQ(exact_match("a  b", "a b"), 0);
}

TEST(Verifiers, NumericMatchIsExactUnlessItTolerates) {
  EXPECT_EQ(numeric_match("$1,234.00", "1234"), 1);
  EXPECT_EQ(numeric_match("1235", "1234"), 0);
  EXPECT_EQ(numeric_match("0.333", "1/3"), 0);
  EXPECT_EQ(numeric_match("0.333", "1/3", 1e-3), 1);
  EXPECT_EQ(numeric_match("0.332", "1/3", 1e-3), 0);
  EXPECT_EQ(numeric_match("1001", "1000", 1e-3), 1);  // relative beyond 1
  EXPECT_EQ(numeric_match("1001.1", "1000", 1e-3), 0);
  EXPECT_EQ(numeric_match("0.0009", "0", 1e-3), 1);  // absolute below 1
  EXPECT_EQ(numeric_match("-1000", "1000", 1e-3), 0);
  EXPECT_EQ(numeric_match("many", "1000"), 0);
  EXPECT_EQ(numeric_match("1000", "many"), kNone);
}

TEST(Verifiers, AnswerRewardComparesFinalAnswers) {
  EXPECT_EQ(answer_reward("so \\boxed{18.0}", "9 + 9 = 18\n#### 18"), 1);
  EXPECT_EQ(answer_reward("so \\boxed{19}", "#### 18"), 0);
  EXPECT_EQ(answer_reward("so 18", "18"), 0);
  EXPECT_EQ(answer_reward("so 18", "18", {.last_number = true}), 1);
  EXPECT_EQ(answer_reward("", "18"), 0);
  EXPECT_EQ(answer_reward("#### Paris", "paris"), 1);
  EXPECT_EQ(answer_reward("#### Paris", "paris", {.fold_case = false}), 0);
  EXPECT_EQ(answer_reward("#### 18.0", "18", {.compare = "text"}), 0);
  EXPECT_EQ(answer_reward("#### 18", "18", {.compare = "text"}), 1);
  EXPECT_EQ(answer_reward("#### 0.33", "1/3", {.tolerance = 0.01}), 1);
  EXPECT_EQ(answer_reward("#### Paris", "Paris", {.compare = "number"}), kNone);
  EXPECT_EQ(answer_reward("#### Paris", " "), kNone);
}

/// A reference verifies against itself and its number in other forms, and not against its number
/// + 1.
void check_reference(const std::string& reference, const std::string& where) {
  const auto answer = final_answer(reference);
  ASSERT_TRUE(answer.has_value()) << where;
  std::string digits = *answer;
  std::erase(digits, ',');
  const long n = std::strtol(digits.c_str(), nullptr, 10);
  ASSERT_EQ(std::to_string(n), digits) << where;
  std::string grouped = std::to_string(std::abs(n));
  for (int at = static_cast<int>(grouped.size()) - 3; at > 0; at -= 3)
    grouped.insert(static_cast<size_t>(at), ",");
  const std::string minus = n < 0 ? "−" : "";
  const std::vector<std::string> forms = {reference,
                                          "#### " + minus + "$" + grouped + ".00",
                                          "#### " + digits + ".",
                                          "Thus \\boxed{" + digits + "}.",
                                          cat("\\boxed{\\frac{", 3 * n, "}{3}}"),
                                          cat("#### ", 7 * n, "/7"),
                                          "so it is " + minus + grouped + "."};
  for (const auto& form : forms) {
    if (n < 0 && form.find("frac") != std::string::npos) continue;  // its sign stands before \frac
    EXPECT_EQ(answer_reward(form, reference, {.last_number = true}), 1) << where << ": " << form;
  }
  for (const long other : {n + 1, n - 1, -n - (n == 0), 10 * n + (n == 0)})
    EXPECT_EQ(answer_reward(cat("\\boxed{", other, "}"), reference), 0) << where << ": " << other;
}

TEST(Verifiers, HoldOnRowsOfArithmetic) {
  const std::vector<std::string> rows = {
      "Ann has <<3*4=12>>12 pens and gives 2 away.\n12 - 2 = 10\n#### 10",
      "The flat costs 950 * 12 = 11,400 a year.\n#### 11,400", "He loses $5.\n#### -5",
      "Nothing is left.\n#### 0", "1000 * 1000 is 1000000.\n#### 1000000"};
  for (const auto& row : rows) check_reference(row, row);
}

TEST(Verifiers, HoldOnGsm8k) {
  const char* data = std::getenv("LUCE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  JsonlReader reader(std::string(data) + "/data/gsm8k-test.jsonl");
  JsonRow row;
  int64_t rows = 0;
  for (; reader.next(row); ++rows)
    check_reference(row.value.at("answer").get<std::string>(), reader.where(row.number));
  EXPECT_EQ(rows, 1319);
}

TEST(Verifiers, FormatAsksForThePattern) {
  const auto whole = load<FormatOptions>(R"({"pattern": "<a>[\\s\\S]*</a>"})");
  const auto part = load<FormatOptions>(R"({"pattern": "<a>[\\s\\S]*</a>", "match": "part"})");
  EXPECT_EQ(Format(whole).reward("<a>1\n2</a>"), 1);
  EXPECT_EQ(Format(whole).reward("x <a>1</a>"), 0);
  EXPECT_EQ(Format(part).reward("x <a>1</a>"), 1);
  EXPECT_EQ(Format(part).reward("x <a>1"), 0);
  EXPECT_EQ(
      error_of<UsageError>([] { Format format({.pattern = "(?=a)"}); }),
      "the regular expression \"(?=a)\" uses lookahead, (?= or (?!, which cannot be matched in "
      "linear time");
}

TEST(Verifiers, LengthCostsWithTheDistanceFromTheTarget) {
  const LengthOptions options{.target = 100, .slope = 0.5};
  EXPECT_EQ(length_reward(100, options), 0);
  EXPECT_EQ(length_reward(90, options), -5);
  EXPECT_EQ(length_reward(103, options), -1.5);
}

// The paper's case: expected 16384 tokens, a cache of 4096 behind them, L_max = 20480.
TEST(Verifiers, OverlongAnswersArePunishedSoftly) {
  const OverlongOptions options{.max_length = 20480, .cache = 4096};
  EXPECT_EQ(overlong_reward(0, options), 0);
  EXPECT_EQ(overlong_reward(16384, options), 0);
  EXPECT_EQ(overlong_reward(16385, options), -1.0 / 4096);
  EXPECT_EQ(overlong_reward(18432, options), -0.5);
  EXPECT_EQ(overlong_reward(20480, options), -1);
  EXPECT_EQ(overlong_reward(20481, options), -1);
  const OverlongOptions hard{.max_length = 10, .cache = 0};
  EXPECT_EQ(overlong_reward(10, hard), 0);
  EXPECT_EQ(overlong_reward(11, hard), -1);
  EXPECT_EQ(error_of<UsageError>([] { overlong_reward(1, {.max_length = 10, .cache = 11}); }),
            "the soft overlong punishment has cache 11, which must not exceed max_length 10");
}

TEST(Verifiers, CosineGoesFromShortToLong) {
  const CosineOptions options{.max_length = 300};
  EXPECT_EQ(cosine_reward(true, 0, options), 2);
  EXPECT_NEAR(*cosine_reward(true, 100, options), 1.75, 1e-12);  // cos 60° = ½
  EXPECT_NEAR(*cosine_reward(true, 150, options), 1.5, 1e-12);
  EXPECT_NEAR(*cosine_reward(true, 299, options), 1, 1e-4);
  EXPECT_EQ(cosine_reward(false, 0, options), -10);
  EXPECT_NEAR(*cosine_reward(false, 200, options), -2.5, 1e-12);  // cos 120° = −½
  EXPECT_EQ(cosine_reward(true, 300, options), -10);
  EXPECT_EQ(cosine_reward(false, 301, options), -10);
}

TEST(Verifiers, RepetitionIsTheShareOfRepeatedNGrams) {
  // 1 2 1 2 1: pairs 12 21 12 21, two of four repeat; triples 121 212 121, one of three repeats.
  const std::vector<int64_t> tokens = {1, 2, 1, 2, 1};
  EXPECT_DOUBLE_EQ(*repetition_reward(tokens, {.n = 1}), -3.0 / 5);
  EXPECT_DOUBLE_EQ(*repetition_reward(tokens, {.n = 2}), -2.0 / 4);
  EXPECT_DOUBLE_EQ(*repetition_reward(tokens, {.n = 3, .weight = 0.5}), -0.5 / 3);
  EXPECT_EQ(repetition_reward(tokens, {.n = 5}), 0);
  EXPECT_EQ(repetition_reward(tokens, {.n = 6}), 0);
  EXPECT_EQ(repetition_reward(std::span<const int64_t>(), {.n = 1}), 0);
  EXPECT_DOUBLE_EQ(*repetition_reward(" a b  a\tb\na ", {.n = 2}), -2.0 / 4);
  EXPECT_EQ(repetition_reward("", {.n = 1}), 0);
  EXPECT_EQ(repetition_reward("A a", {.n = 1}), 0);
  EXPECT_EQ(error_of<ArgumentError>([&] { repetition_reward(tokens, {.n = 0}); }),
            "repetition_reward: n is 0, but must be at least 1");
}

TEST(Verifiers, RepetitionAgreesWithASetOfWindows) {
  uint64_t state = 1;
  for (int round = 0; round < 50; ++round) {
    std::vector<int64_t> tokens(static_cast<size_t>(round));
    for (auto& token : tokens)
      token = static_cast<int64_t>((state = state * 6364136223846793005u + 1) >> 62);
    for (size_t n = 1; n <= 4 && n <= tokens.size(); ++n) {
      std::set<std::vector<int64_t>> seen;
      double repeated = 0;
      const size_t total = tokens.size() - n + 1;
      for (size_t i = 0; i < total; ++i)
        repeated += !seen.insert({tokens.begin() + i, tokens.begin() + i + n}).second;
      EXPECT_DOUBLE_EQ(*repetition_reward(tokens, {.n = static_cast<int64_t>(n)}),
                       -repeated / static_cast<double>(total));
    }
  }
}

TEST(Verifiers, JsonIsOneValidValueWithItsKeys) {
  EXPECT_EQ(json_reward("{\"a\": 1, \"b\": [null]}"), 1);
  EXPECT_EQ(json_reward(" 3 "), 1);
  for (const std::string bad :
       {"", "{", "{} {}", "{'a': 1}", "{\"a\": 1, \"a\": 2}", "\"\xFF\"", "NaN", "// c\n1"})
    EXPECT_EQ(json_reward(bad), 0) << bad;
  EXPECT_EQ(json_reward(std::string(1'000'000, '[')), 0);
  const JsonFormatOptions keys{.required = {"a", "b"}};
  EXPECT_EQ(json_reward("{\"b\": 1, \"a\": null, \"c\": 2}", keys), 1);
  EXPECT_EQ(json_reward("{\"a\": {\"b\": 1}}", keys), 0);
  EXPECT_EQ(json_reward("[\"a\", \"b\"]", keys), 0);
}

TEST(Verifiers, OptionsComeFromConfigs) {
  const auto answer = load<AnswerOptions>(
      R"({"compare": "number", "last_number": true, "fold_case": false, "tolerance": 0.5})");
  EXPECT_EQ(answer.compare, "number");
  EXPECT_TRUE(answer.last_number);
  EXPECT_FALSE(answer.fold_case);
  EXPECT_EQ(answer.tolerance, 0.5);
  EXPECT_EQ(load<LengthOptions>(R"({"target": 7})").target, 7);
  EXPECT_EQ(load<OverlongOptions>(R"({"max_length": 7, "cache": 3})").cache, 3);
  EXPECT_EQ(load<CosineOptions>(R"({"max_length": 7, "exceeded": -3})").exceeded, -3);
  EXPECT_EQ(load<RepetitionOptions>(R"({"n": 4, "weight": 0.5})").n, 4);
  EXPECT_EQ(load<JsonFormatOptions>(R"({"required": ["a"]})").required,
            std::vector<std::string>{"a"});
  // Each bound of a key, and each key that must be there, refuses.
  EXPECT_NE(refusal<AnswerOptions>(R"({"compare": "words"})"), "");
  EXPECT_NE(refusal<AnswerOptions>(R"({"tolerance": 1})"), "");
  EXPECT_NE(refusal<FormatOptions>(R"({"match": "part"})"), "");
  EXPECT_NE(refusal<FormatOptions>(R"({"pattern": "a", "match": "half"})"), "");
  EXPECT_NE(refusal<LengthOptions>("{}"), "");
  EXPECT_NE(refusal<LengthOptions>(R"({"target": 7, "slope": 0})"), "");
  EXPECT_NE(refusal<OverlongOptions>(R"({"max_length": 7})"), "");
  EXPECT_NE(refusal<OverlongOptions>(R"({"max_length": 0, "cache": 0})"), "");
  EXPECT_NE(refusal<CosineOptions>("{}"), "");
  EXPECT_NE(refusal<RepetitionOptions>(R"({"n": 65})"), "");
  EXPECT_NE(refusal<RepetitionOptions>(R"({"weight": -1})"), "");
}

}  // namespace
}  // namespace luce
