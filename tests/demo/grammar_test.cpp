#include "demo/grammar.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "luce/base/error.h"

namespace luce::demo {
namespace {

const Random kRandom(7, Purpose::demo);

std::string refusal_of(const std::string& rules) {
  try {
    const Grammar grammar(rules);
    return "accepted";
  } catch (const ArgumentError& failure) {
    return failure.what();
  }
}

TEST(Grammar, GivesTheProbabilitiesOfItsWeights) {
  const Grammar grammar("start: a <colour> kite\ncolour: 3*red | blue");
  EXPECT_DOUBLE_EQ(grammar.log_probability("a red kite"), std::log(0.75));
  EXPECT_DOUBLE_EQ(grammar.log_probability("a blue kite"), std::log(0.25));
  for (const char* text :
       {"", "a", "a red", "a red kit", "a red kite ", "a green kite", "red kite"})
    EXPECT_EQ(grammar.log_probability(text), -std::numeric_limits<double>::infinity()) << text;
}

TEST(Grammar, SamplesAsOftenAsItSays) {
  const Grammar grammar("start: a <colour> kite\ncolour: 3*red | blue");
  int red = 0;
  for (uint64_t i = 0; i < 4000; ++i) red += grammar.sample(kRandom, i).text == "a red kite";
  EXPECT_NEAR(red, 3000, 5 * std::sqrt(4000 * 0.75 * 0.25));
}

TEST(Grammar, SumsTheEntropyOfEveryDraw) {
  const Grammar grammar("start: <x>, <y>, [x]\nx: 2*<y> | b\ny: p | q");
  // x: one of two with chances 2/3 and 1/3, in the first case one of two more; y: one of two.
  const double h = -(2.0 / 3 * std::log(2.0 / 3) + 1.0 / 3 * std::log(1.0 / 3));
  EXPECT_NEAR(grammar.entropy(), h + 2.0 / 3 * std::log(2.0) + std::log(2.0), 1e-15);
}

TEST(Grammar, RepeatsWhatWasDrawnInEachOfItsForms) {
  const Grammar grammar(
      "start: <who> ran. [who.She] sang, and [who] slept.\n"
      "who: Lily/she/She\n  | Tom/he/He");
  EXPECT_DOUBLE_EQ(grammar.log_probability("Lily ran. She sang, and Lily slept."), std::log(0.5));
  EXPECT_DOUBLE_EQ(grammar.log_probability("Tom ran. He sang, and Tom slept."), std::log(0.5));
  EXPECT_EQ(grammar.log_probability("Tom ran. She sang, and Tom slept."),
            -std::numeric_limits<double>::infinity());
  EXPECT_EQ(grammar.log_probability("Tom ran. He sang, and Lily slept."),
            -std::numeric_limits<double>::infinity());
}

TEST(Grammar, RepeatsAComposedDrawAndTheLatestOne) {
  const Grammar grammar("start: <pair> [pair] <pair> [pair]\npair: (<letter>)\nletter: x | y");
  EXPECT_NEAR(grammar.log_probability("(x) (x) (y) (y)"), std::log(0.25), 1e-15);
  EXPECT_EQ(grammar.log_probability("(x) (x) (y) (x)"), -std::numeric_limits<double>::infinity());
  const Grammar names("start: <who> [who.she] <who> [who.she]\nwho: Lily/she | Tom/he");
  EXPECT_NEAR(names.log_probability("Lily she Tom he"), std::log(0.25), 1e-15);
}

TEST(Grammar, RefusesAlternativesThatAReaderCouldNotTellApart) {
  EXPECT_EQ(refusal_of("start: red | green | reddish"),
            "grammar: rule \"start\" has alternatives that begin with \"red\" and \"reddish\": a "
            "reader could not tell which one a text uses");
  EXPECT_EQ(refusal_of("start: a red kite | <thing>\nthing: ball | a"),
            "grammar: rule \"start\" has alternatives that begin with \"a red kite\" and \"a\": a "
            "reader could not tell which one a text uses");
  EXPECT_EQ(refusal_of("start: <x> <y>\ny: [x] b | c\nx: p | q"),
            "grammar: rule \"y\" has alternatives that begin with \"\" and \"c\": a reader could "
            "not tell which one a text uses");
  EXPECT_EQ(refusal_of("start: <thing> | cat\nthing: ball | bat"), "accepted");
}

TEST(Grammar, NamesWhatIsWrongWithItsRules) {
  EXPECT_EQ(refusal_of(" \n"), "grammar: there is no rule in it");
  EXPECT_EQ(refusal_of("start"), "grammar: \"start\" has no colon after the name of a rule");
  EXPECT_EQ(refusal_of("start: a\nstart: b"), "grammar: there are two rules named \"start\"");
  EXPECT_EQ(refusal_of("start: a | 0*b"),
            "grammar: rule \"start\" has an alternative that is empty or whose weight is no "
            "positive number");
  EXPECT_EQ(refusal_of("start: a | "),
            "grammar: rule \"start\" has an alternative that is empty or whose weight is no "
            "positive number");
  EXPECT_EQ(refusal_of("start: a <b"), "grammar: rule \"start\": \"a <b\" lacks its bracket");
  EXPECT_EQ(refusal_of("start: a <b>"), "grammar: rule \"start\" names \"b\", which is no rule");
  EXPECT_EQ(refusal_of("start: a <b>\nb: x <start>"),
            "grammar: rule \"b\" draws from \"start\", which does not stand below it");
  EXPECT_EQ(refusal_of("start: <b> [b.he]\nb: Lily/she | Tom/he"),
            "grammar: rule \"start\" names the form \"he\", which rule \"b\" does not have");
  EXPECT_EQ(refusal_of("start: Lily/she | Tom"),
            "grammar: \"Tom\" of rule \"start\" has another number of forms than the first "
            "alternative");
  EXPECT_EQ(refusal_of("start: a [b] <b>\nb: x | y"),
            "grammar: rule \"start\" repeats \"b\" before it is drawn");
  EXPECT_EQ(refusal_of("start: <a> [c]\na: x <c> | y\nc: p | q"),
            "grammar: rule \"start\" repeats \"c\" before it is drawn");
  EXPECT_EQ(refusal_of("start: <a> [c]\na: x <c> | y <c>\nc: p | q"), "accepted");
}

}  // namespace
}  // namespace luce::demo
