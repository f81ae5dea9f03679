#include "luce/data/number.h"

#include <gtest/gtest.h>

#include <vector>

namespace luce {
namespace {

Number fraction(const std::string& a, const std::string& b = "1", bool negative = false) {
  return {.negative = negative, .numerator = a, .denominator = b};
}

TEST(Number, IsReadInTheFormsInWhichItIsWritten) {
  const std::vector<std::string> forms = {"1234",
                                          "1,234",
                                          "+1234",
                                          "1234.",
                                          "1234.0",
                                          " 1234\n",
                                          "$1,234.00",
                                          "\\$1234",
                                          "$1,234.00.",
                                          "1234%",
                                          "1234\\%",
                                          "1{,}234",
                                          "1\\,234",
                                          "12\\!34",
                                          "$1234$",
                                          "€1,234",
                                          "1234 €",
                                          "£ 1234",
                                          "1.234e3",
                                          "12340E-1",
                                          "2468/2",
                                          "2468 / 2",
                                          "\\frac{2468}{2}",
                                          "\\dfrac{2,468}{2}",
                                          "\\tfrac{1234}{1}",
                                          "00001234",
                                          "+$1234",
                                          "$+1234"};
  for (const auto& form : forms) {
    const auto number = parse_number(form);
    ASSERT_TRUE(number.has_value()) << form;
    EXPECT_EQ(*number, fraction("1234")) << form;
    EXPECT_EQ(number->value(), 1234) << form;
  }
  for (const std::string form : {"-0.5", "−0.5", "-.5", "-1/2", "- 1/2", "-$0.50", "$-0.50",
                                 "-5e-1", "-\\frac{1}{2}", "−50/100.", "\\-0.5"}) {
    const auto number = parse_number(form);
    ASSERT_TRUE(number.has_value()) << form;
    EXPECT_EQ(*number, fraction("1", "2", true)) << form;
    EXPECT_EQ(number->value(), -0.5) << form;
  }
}

TEST(Number, IsNoneWhereTheTextIsNotOneNumber) {
  for (const std::string text : {"",
                                 " ",
                                 "x",
                                 "-",
                                 "+",
                                 "$",
                                 "%",
                                 ".",
                                 "1 2",
                                 "1 1/2",
                                 "12 apples",
                                 "x12",
                                 "1,23",
                                 "1,2345",
                                 "12,34,567",
                                 "1.2.3",
                                 "1/2/3",
                                 "1/0",
                                 "\\frac{1}{0}",
                                 "\\frac{1}",
                                 "\\frac12",
                                 "--1",
                                 "+-1",
                                 "$$1",
                                 "1/",
                                 "/2",
                                 "nan",
                                 "inf",
                                 "0x10",
                                 "1e",
                                 "1e999",
                                 "1e+-5",
                                 "1e-101",
                                 "５"})
    EXPECT_FALSE(parse_number(text).has_value()) << text;
  EXPECT_TRUE(parse_number(std::string(100, '9')).has_value());
  EXPECT_FALSE(parse_number(std::string(101, '9')).has_value());
  EXPECT_FALSE(parse_number(std::string(1'000'000, '9')).has_value());
}

TEST(Number, ComparesExactly) {
  const auto same = [](const std::string& a, const std::string& b) {
    return *parse_number(a) == *parse_number(b);
  };
  EXPECT_TRUE(same("1/3", "2/6"));
  EXPECT_TRUE(same("0.1", "1/10"));
  EXPECT_TRUE(same("0", "-0.000"));
  EXPECT_TRUE(same("1e99", "1" + std::string(99, '0') + "/1"));
  EXPECT_FALSE(same("1/3", "0.3333333333333333"));
  EXPECT_FALSE(same("1", "-1"));
  EXPECT_FALSE(same("0", "1e-100"));
  // Equal as doubles.
  EXPECT_FALSE(same("9007199254740992", "9007199254740993"));
  EXPECT_FALSE(same(std::string(99, '9') + "8", std::string(100, '9')));
  // (10⁵⁰ − 1)(10⁵⁰ + 1) = 10¹⁰⁰ − 1
  const std::string nines(50, '9'), sum = "1" + std::string(49, '0') + "1";
  EXPECT_TRUE(same(nines + "/" + std::string(100, '9'), "1/" + sum));
}

TEST(Number, AgreesWithWholeNumbersOnAGrid) {
  for (int a = -12; a <= 12; ++a)
    for (int b = 1; b <= 12; ++b)
      for (int c = -12; c <= 12; c += 3)
        for (int d = 1; d <= 12; d += 2) {
          const auto text = [](int p, int q) {
            return std::to_string(p) + "/" + std::to_string(q);
          };
          EXPECT_EQ(*parse_number(text(a, b)) == *parse_number(text(c, d)), a * d == c * b)
              << text(a, b) << " " << text(c, d);
        }
}

TEST(Number, TheLastOneOfATextIsFoundAsItIsWritten) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"so 3 and then 18.", "18"},
      {"it is $1,234.50!", "$1,234.50"},
      {"it is -$5", "-$5"},
      {"it is $-5.", "-5"},
      {"7-5", "5"},
      {"7 - 5", "5"},
      {"(a)-5", "5"},
      {"= −5", "−5"},
      {"ratio 3/4 of it", "3/4"},
      {"50% of them", "50%"},
      {"50\\% of them", "50\\%"},
      {"1, 2, 3", "3"},
      {"16eggs", "16"},
      {"5 H2O", "5"},
      {"about .5 or so", ".5"},
      {"at the end.7", "7"},
      {"2e3 grams", "2e3"},
      {"\\$5 x", "\\$5"},
      {"等于5。", "5"},
      {"5", "5"},
      {"1/2/2020", "2020"},
      {"9 then " + std::string(101, '1') + " x", "9"}};
  for (const auto& [text, number] : cases) EXPECT_EQ(find_last_number(text), number) << text;
  for (const std::string text : {"", "none", ".", "a1 b2", "-", "$"})
    EXPECT_FALSE(find_last_number(text).has_value()) << text;
}

TEST(Number, WhiteSpaceIsTrimmed) {
  EXPECT_EQ(trimmed(" \t\r\n\v\fa b \n"), "a b");
  EXPECT_EQ(trimmed(" \n"), "");
  EXPECT_EQ(trimmed(""), "");
}

}  // namespace
}  // namespace luce
