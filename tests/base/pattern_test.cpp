#include "luce/base/pattern.h"

#include <gtest/gtest.h>

#include "data/temporary_folder.h"

namespace luce {
namespace {

TEST(Pattern, MatchesWholesAndParts) {
  const Pattern word("a+b");
  EXPECT_TRUE(word.matches("aab"));
  EXPECT_FALSE(word.matches("aabb"));
  EXPECT_FALSE(word.matches("\naab"));
  EXPECT_TRUE(word.is_found_in("x\naabb\n"));
  EXPECT_FALSE(word.is_found_in("aa\nb"));
  EXPECT_FALSE(word.is_found_in(""));
}

TEST(Pattern, AnchorsAreTheEndsOfTheText) {
  const Pattern start("^a"), end("a$"), either("^a|b$");
  EXPECT_TRUE(start.is_found_in("ab"));
  EXPECT_FALSE(start.is_found_in("b\na"));
  EXPECT_TRUE(end.is_found_in("ba"));
  EXPECT_FALSE(end.is_found_in("a\nb"));
  EXPECT_TRUE(either.is_found_in("ac"));
  EXPECT_TRUE(either.is_found_in("cb"));
  EXPECT_FALSE(either.is_found_in("bca"));
}

TEST(Pattern, IsOfECMAScriptByteByByte) {
  EXPECT_TRUE(Pattern("\\w+\\s[^x]\\d{2,3}?").matches("ab c12"));
  EXPECT_FALSE(Pattern("a.b").matches("a\nb"));
  EXPECT_TRUE(Pattern("a[\\s\\S]b").matches("a\nb"));
  EXPECT_TRUE(Pattern("é..").matches("éü"));
  EXPECT_TRUE(Pattern("\\(?=[(?=]").matches("=("));
  EXPECT_TRUE(Pattern("").matches(""));
}

// The default engine of the standard library needs exponential time for the first, and a stack
// frame for every byte of the second.
TEST(Pattern, StandsTextsThatBreakBacktracking) {
  EXPECT_FALSE(Pattern("(a*)*b").matches(std::string(10'000, 'a')));
  const std::string text = "<think>" + std::string(1'000'000, 'x') + "</think>\n<answer>7</answer>";
  const Pattern form("<think>[\\s\\S]*?</think>\\s*<answer>[\\s\\S]*?</answer>");
  EXPECT_TRUE(form.matches(text));
  EXPECT_FALSE(form.matches(text + "."));
  EXPECT_TRUE(form.is_found_in(text + "."));
}

TEST(Pattern, StandsTheLargestExpression) {
  std::string large;
  for (int i = 0; i < 10'000; ++i) large += "a?";
  EXPECT_TRUE(Pattern(large).matches("aaa"));
  EXPECT_TRUE(Pattern("(a?){1000}").matches("aaa"));
}

std::string refusal(const std::string& expression) {
  return error_of<UsageError>([&] { Pattern pattern(expression); });
}

TEST(Pattern, RefusesWhatItCannotMatchInLinearTime) {
  EXPECT_EQ(refusal("(a)\\1"),
            "the regular expression \"(a)\\1\" uses a backreference, which cannot be matched in "
            "linear time");
  for (const std::string lookahead : {"a(?=b)", "[(]?(?!b)"})
    EXPECT_EQ(refusal(lookahead), cat("the regular expression \"", lookahead,
                                      "\" uses lookahead, (?= or (?!, which cannot be matched in "
                                      "linear time"));
}

TEST(Pattern, RefusesWhatIsTooLarge) {
  const std::string end =
      "is too large: its 11 bytes times the product of its counts {n} exceed 20000";
  EXPECT_EQ(refusal("(a{50}){50}"), "the regular expression \"(a{50}){50}\" " + end);
  EXPECT_EQ(refusal("aa{1,99999}"), "the regular expression \"aa{1,99999}\" " + end);
  EXPECT_EQ(refusal("aaa{999999}"), "the regular expression \"aaa{999999}\" " + end);
  EXPECT_EQ(refusal(std::string(20'001, 'a')),
            cat("the regular expression \"", std::string(60, 'a'),
                "…\" is too large: its 20001 bytes times the product of its counts {n} exceed "
                "20000"));
}

TEST(Pattern, RefusesWhatIsNoExpression) {
  for (const std::string bad : {"a)(b", "(a", "[a", "*a", "a{2", "\\"})
    EXPECT_EQ(refusal(bad).find(cat("the regular expression \"", bad, "\" is not valid: ")), 0u)
        << refusal(bad);
}

}  // namespace
}  // namespace luce
